"""Passwords: Argon2id with the parameters asked for."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type

from svgx_auth.passwords.hashing import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(memory=19 * 1024, passes=2, lanes=1, workers=2)
    yield passwords
    passwords.close()


async def test_hashes_are_argon2id_at_owasps_floor(passwords: Passwords) -> None:
    """Proves R-AUTH-2: m=19 MiB, t=2, p=1 (OWASP Password Storage Cheat Sheet), a salt for each."""
    stored = await passwords.hash("correct horse")
    parameters = extract_parameters(stored)
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19456, 2, 1)
    assert stored != await passwords.hash("correct horse")


async def test_only_the_password_matches(passwords: Passwords) -> None:
    """Proves R-AUTH-2; where there is no hash, or a broken one, nothing matches."""
    stored = await passwords.hash("correct horse")
    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("incorrect horse", stored)
    assert not await passwords.verify("nobody's password", None)
    assert not await passwords.verify("correct horse", "not a hash")


async def test_a_hash_with_other_parameters_is_outdated(passwords: Passwords) -> None:
    """Proves R-AUTH-2."""
    stronger = Passwords(memory=32 * 1024, passes=2, lanes=1, workers=1)
    stored = await passwords.hash("correct horse")
    assert not passwords.outdated(stored)
    assert stronger.outdated(stored)
    stronger.close()


async def test_the_event_loop_goes_on_meanwhile(passwords: Passwords) -> None:
    """Proves R-AUTH-2: hashed on the loop itself, the task would be done at its first step."""
    hashing = asyncio.create_task(passwords.hash("correct horse"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_so_many_are_hashed_at_a_time() -> None:
    """Proves R-AUTH-2: of six with two `workers`, two meet and three never do."""
    two, three = threading.Barrier(2, timeout=10), threading.Barrier(3, timeout=0.3)

    class Meeting:
        def hash(self, _: str) -> str:
            two.wait()
            try:
                three.wait()
            except threading.BrokenBarrierError:
                return "two met"
            return "three met"

    passwords = Passwords(memory=19 * 1024, passes=2, lanes=1, workers=2)
    await passwords.verify("x", None)
    passwords._hasher = Meeting()  # type: ignore[assignment]  # what is tested is the pool
    found = await asyncio.gather(*(passwords.hash("x") for _ in range(6)))
    passwords.close()
    assert found == ["two met"] * 6
