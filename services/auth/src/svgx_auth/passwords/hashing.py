"""Passwords: Argon2id, off the event loop, a bounded number at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from svgx_auth.passwords.policy import refuse_easy

T = TypeVar("T")


class Passwords:
    """Hashes and verifies. `memory` is in KiB; `workers` passwords are hashed at a time."""

    def __init__(self, *, memory: int, passes: int, lanes: int, workers: int) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=lanes)
        self._pool = ThreadPoolExecutor(workers, "argon2")
        # Verified in place of an account that does not exist, so that the time taken does not tell. Made in the pool,
        # ahead of everything else: the event loop answers health meanwhile.
        self._nobody = self._pool.submit(self._hasher.hash, "nobody's password")

    async def hash(self, password: str) -> str:
        """The password's hash, with its parameters and salt, in PHC string format."""
        return await self._run(lambda: self._hasher.hash(password))

    async def hash_new(
        self, password: str, *, names: tuple[str, ...], field: str = "password"
    ) -> str:
        """The hash of a password that somebody chooses. Raises `Invalid`, naming `field`, when it is easy to guess."""

        def work() -> str:
            refuse_easy(password, names, field)
            return self._hasher.hash(password)

        return await self._run(work)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `stored` is this password's hash. Takes as long where there is none."""
        matches = await self._run(lambda: self._verify(password, stored or self._nobody.result()))
        return matches and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads; what they are at is finished first."""
        self._pool.shutdown()

    def _verify(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
