"""Run work for accounts in threads, so that the event loop continues meanwhile.

Python runs one thread at a time, so each further thread makes the event loop wait longer. So only a few threads run at
a time.
"""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar
from weakref import WeakValueDictionary

Result = TypeVar("Result")


class AccountThreads:
    """Runs at most `limit` pieces of work at a time, at most one of them for an account. Others wait in their order."""

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._by_account: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each account. One account's work then never delays other accounts by more than one piece."""

    async def run(
        self,
        account: str,
        work: Callable[[], Result],
        memory: AbstractContextManager[object] | None = None,
    ) -> Result:
        """Return the result of `work` when it has had its turn, or raise its exception.

        A thread cannot be cancelled. If the caller is cancelled, the account's turn and the context `memory` end with
        the thread.
        """
        lock = self._by_account.setdefault(account, asyncio.Lock())
        with contextlib.ExitStack() as limits:
            for limit in (lock, self._free):
                await limit.acquire()
                limits.callback(limit.release)
            if memory is not None:
                limits.enter_context(memory)
            running = asyncio.get_running_loop().run_in_executor(None, work)
            held = limits.pop_all()
            running.add_done_callback(lambda _: held.close())
        return await asyncio.shield(running)
