"""Password hashes: Argon2id with the configured parameters, computed in threads."""

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


async def test_hashes_are_argon2id_with_owasps_minimum(passwords: Passwords) -> None:
    """Proves R-AUTH-2: m=19 MiB, t=2, p=1 (OWASP Password Storage Cheat Sheet), and each hash has its own salt."""
    stored = await passwords.hash("correct horse")
    parameters = extract_parameters(stored)
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19456, 2, 1)
    assert stored != await passwords.hash("correct horse")


async def test_only_the_hashed_password_matches(passwords: Passwords) -> None:
    """Proves R-AUTH-2: only the password itself matches; without a hash or with a broken hash, nothing matches."""
    stored = await passwords.hash("correct horse")
    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("incorrect horse", stored)
    assert not await passwords.verify("the password of no account", None)
    assert not await passwords.verify("correct horse", "not a hash")


@pytest.mark.parametrize(
    ("typed", "matches"), [("correct\u00a0horse", True), ("incorrect\u00a0horse", False)]
)
async def test_both_forms_of_a_password_are_always_checked(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch, typed: str, *, matches: bool
) -> None:
    """The time shows neither whether the password is right nor which form is stored. Proves R-AUTH-5."""
    stored = await passwords.hash("correct horse")
    check, checked = passwords._matches, list[str]()

    def note(password: str, stored: str) -> bool:
        checked.append(password)
        return check(password, stored)

    monkeypatch.setattr(passwords, "_matches", note)
    assert await passwords.verify(typed, stored) is matches
    assert checked == [typed.replace("\u00a0", " "), typed]


async def test_hash_with_other_parameters_is_outdated(passwords: Passwords) -> None:
    """Proves R-AUTH-2: a hash made with parameters other than the configured ones is outdated."""
    stronger = Passwords(memory=32 * 1024, passes=2, lanes=1, workers=1)
    stored = await passwords.hash("correct horse")
    assert not await passwords.outdated("correct horse", stored)
    assert await stronger.outdated("correct horse", stored)
    stronger.close()


async def test_event_loop_runs_while_a_password_is_hashed(passwords: Passwords) -> None:
    """Proves R-AUTH-2: the event loop runs other tasks while a password is hashed.

    Without a thread, the task would finish in its first step.
    """
    hashing = asyncio.create_task(passwords.hash("correct horse"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_workers_limit_simultaneous_hashes() -> None:
    """Proves R-AUTH-2: with two `workers`, two of six hashes run at the same time, and never three."""
    two, three = threading.Barrier(2, timeout=10), threading.Barrier(3, timeout=0.3)

    class MeetingHasher:
        """A hasher that waits until two calls run at the same time, and reports whether three do."""

        def hash(self, _: str) -> str:
            two.wait()
            try:
                three.wait()
            except threading.BrokenBarrierError:
                return "two met"
            return "three met"

    passwords = Passwords(memory=19 * 1024, passes=2, lanes=1, workers=2)
    await passwords.verify("x", None)  # waits until the real hasher has made the dummy hash
    passwords._hasher = MeetingHasher()  # type: ignore[assignment]  # this test is about the pool
    hashes = await asyncio.gather(*(passwords.hash("x") for _ in range(6)))
    passwords.close()
    assert hashes == ["two met"] * 6
