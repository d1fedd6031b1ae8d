"""Password hashes: Argon2id, computed in a bounded number of threads outside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from svgx_auth.names import password as prepare
from svgx_auth.passwords.policy import refuse_easy

Result = TypeVar("Result")


class Passwords:
    """The hasher and verifier of passwords. `memory` is in KiB; at most `workers` passwords are hashed at a time.

    A password is hashed in its canonical form (`names.password`). Earlier versions hashed the password as it was typed,
    so a check tries both forms.
    """

    def __init__(self, *, memory: int, passes: int, lanes: int, workers: int) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=lanes)
        self._pool = ThreadPoolExecutor(workers, "argon2")
        # This hash is verified when an account does not exist, so that the time of the answer does not reveal which
        # accounts exist. It is computed in the pool, because the event loop must answer health checks meanwhile.
        self._dummy_hash = self._pool.submit(self._hasher.hash, "the password of no account")

    async def hash(self, password: str) -> str:
        """Return the password's hash, with its parameters and salt, in PHC string format."""
        return await self._run(lambda: self._hasher.hash(prepare(password)))

    async def hash_new(
        self, password: str, *, names: tuple[str, ...], field: str = "password"
    ) -> str:
        """Return the hash of a new password.

        `names` are the account's username and e-mail address. Raises `Invalid`, naming `field`, for a password that is
        easy to guess.
        """

        def check_and_hash() -> str:
            prepared = prepare(password)
            refuse_easy(prepared, names, field)
            return self._hasher.hash(prepared)

        return await self._run(check_and_hash)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Return whether `stored` is this password's hash.

        When `stored` is None, the check takes the same time as for a hash of the current parameters.
        """
        matches = await self._run(
            lambda: self._verify(password, stored or self._dummy_hash.result())
        )
        return matches and stored is not None

    async def outdated(self, password: str, stored: str) -> bool:
        """Return whether the password must be hashed again.

        This is necessary when `stored` has old parameters, or when it is not the hash of the canonical form.
        """
        if self._hasher.check_needs_rehash(stored):
            return True
        prepared = prepare(password)
        return prepared != password and not await self._run(lambda: self._matches(prepared, stored))

    def close(self) -> None:
        """Finish the hashes in progress, and end the threads."""
        self._pool.shutdown()

    def _verify(self, password: str, stored: str) -> bool:
        """Return whether `stored` is the hash of the password's canonical form, or of the password as it was typed.

        Both forms are checked in any case, because the time would otherwise show which of them matches.
        """
        prepared = prepare(password)
        matches = self._matches(prepared, stored)
        return (prepared != password and self._matches(password, stored)) or matches

    def _matches(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
