"""A read-through cache of values in this process. Callers that read a key at the same time share one read of the store.

A replica that writes a key announces the change to all replicas before it answers the caller. One NATS server delivers
this announcement before any later request of the caller, so the caller reads its own write from each replica. In a
cluster of several NATS servers, the announcement may arrive milliseconds after the answer
(docs/decisions/0059-value-cache-in-the-process.md).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from svgx_common.contract.storage.values import ALL_KEYS
from svgx_state.values import metrics
from svgx_state.values.store import Draft, StateStore, StoredKey, StoredValue

MAX_AGE_SECONDS = 10.0
"""Lifetime of a cached value, in seconds. The announcement of a change removes the value earlier, but may be lost."""

OVERHEAD_BYTES = 512
"""Bytes that an entry takes in addition to its value."""

_Address = tuple[str, str]
Announce = Callable[[str, str], Awaitable[None]]
"""Announces the owner and the key of a changed value, or `ALL_KEYS`, to all replicas."""


@dataclass(frozen=True, slots=True)
class _Entry:
    value: StoredValue | None
    until: float
    """The time up to which the entry is used, on the monotonic clock."""
    size: int


class CachedStore:
    """A store with a cache in front of it. The cache also remembers keys without a value."""

    def __init__(
        self,
        store: StateStore,
        announce: Announce,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._announce = announce
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[_Address, _Entry] = OrderedDict()
        self._reads: dict[_Address, asyncio.Task[StoredValue | None]] = {}
        self._bytes = 0

    async def get(self, owner: str, key: str) -> StoredValue | None:
        """Return the value of a key, or None. Callers that ask for one key at the same time share one read."""
        address = (owner, key)
        entry = self._entries.get(address)
        if entry is not None and self._is_usable(entry):
            metrics.VALUE_CACHE.labels("hit").inc()
            self._entries.move_to_end(address)
            return entry.value
        read = self._reads.get(address)
        if read is None:
            metrics.VALUE_CACHE.labels("miss").inc()
            read = asyncio.create_task(self._store.get(owner, key))
            self._reads[address] = read
            read.add_done_callback(lambda task: self._finish(address, task))
        else:
            metrics.VALUE_CACHE.labels("shared").inc()
        # A caller that is cancelled must not cancel the read that other callers share.
        return await asyncio.shield(read)

    async def put(self, owner: str, draft: Draft, expected: int | None) -> StoredKey:
        """Store a value, as `StateStore.put` describes, and announce the change to all replicas."""
        try:
            return await self._store.put(owner, draft, expected)
        finally:
            # Announce the change after an error too, because the write may have been committed before the connection
            # was lost.
            await self._forget_and_announce(owner, draft.key)

    async def delete(self, owner: str, key: str, expected: int | None) -> bool:
        """Delete a value, as `StateStore.delete` describes, and announce the change to all replicas."""
        try:
            return await self._store.delete(owner, key, expected)
        finally:
            await self._forget_and_announce(owner, key)

    async def keys(
        self, owner: str, state_type: str, prefix: str, after: str, limit: int
    ) -> Sequence[StoredKey]:
        """Return keys from the store, because the cache does not have all keys."""
        return await self._store.keys(owner, state_type, prefix, after, limit)

    async def erase(self, owner: str) -> int:
        """Delete all values of an owner, and announce this to all replicas."""
        try:
            return await self._store.erase(owner)
        finally:
            await self._forget_and_announce(owner, ALL_KEYS)

    async def expire(self) -> int:
        """Delete expired values from the store. The cache already ignores expired values."""
        return await self._store.expire()

    def forget(self, owner: str, key: str) -> None:
        """Remove a key, or `ALL_KEYS` of an owner, from the cache.

        The result of a running read is not cached, and later callers read again.
        """
        addresses = [(owner, key)]
        if key == ALL_KEYS:
            addresses = [each for each in {*self._reads, *self._entries} if each[0] == owner]
        for address in addresses:
            self._reads.pop(address, None)
            self._remove(address)

    def clear(self) -> None:
        """Remove all keys from the cache, because announcements may have been missed."""
        self._reads.clear()
        self._entries.clear()
        self._bytes = 0
        metrics.VALUE_CACHE_BYTES.set(0)

    @property
    def size(self) -> int:
        """Return the bytes that all entries take."""
        return self._bytes

    async def _forget_and_announce(self, owner: str, key: str) -> None:
        self.forget(owner, key)
        await self._announce(owner, key)

    def _is_usable(self, entry: _Entry) -> bool:
        if entry.until <= self._clock():
            return False
        value = entry.value
        return value is None or value.expires_at is None or value.expires_at > datetime.now(UTC)

    def _finish(self, address: _Address, read: asyncio.Task[StoredValue | None]) -> None:
        """Cache the result of a read, unless the key has changed meanwhile."""
        if self._reads.get(address) is not read:
            # Read the exception, because asyncio logs an exception that was never read.
            if not read.cancelled():
                read.exception()
            return
        del self._reads[address]
        if read.cancelled() or read.exception() is not None:
            return
        value = read.result()
        size = OVERHEAD_BYTES + (value.size if value else 0)
        self._remove(address)
        if size > self._max_bytes:
            return
        self._entries[address] = _Entry(value, self._clock() + MAX_AGE_SECONDS, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))
        metrics.VALUE_CACHE_BYTES.set(self._bytes)

    def _remove(self, address: _Address) -> None:
        entry = self._entries.pop(address, None)
        if entry is not None:
            self._bytes -= entry.size
            metrics.VALUE_CACHE_BYTES.set(self._bytes)
