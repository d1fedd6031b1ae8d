"""Values in the memory of one replica. They are lost when the replica ends, so production refuses this store."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from svgx_state.values.store import (
    AccountLimits,
    Draft,
    StoredKey,
    StoredValue,
    too_many_bytes,
    too_many_keys,
    version_conflict,
    wrong_type,
)

MAX_BYTES = 64 * 1024 * 1024
"""Largest size of the values of all accounts, in bytes.

Beyond it, the values that were written longest ago are removed.
"""


class MemoryStore:
    """A store in a dictionary. `clock` returns Unix seconds."""

    def __init__(
        self,
        limits: AccountLimits,
        clock: Callable[[], float] = time.time,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._max_bytes = max_bytes
        self._values: OrderedDict[tuple[str, str], StoredValue] = OrderedDict()
        self._bytes = 0

    async def get(self, owner: str, key: str) -> StoredValue | None:
        """Return the value of a key, or None."""
        return self._live_value(owner, key)

    async def put(self, owner: str, draft: Draft, expected: int | None) -> StoredKey:
        """Store a value, as `StateStore.put` describes."""
        stored = self._live_value(owner, draft.key)
        current = stored.version if stored else 0
        if expected is not None and expected != current:
            raise version_conflict(current)
        if stored is not None and stored.state_type != draft.state_type:
            raise wrong_type(stored.state_type)
        other_values = [
            value
            for (each, key), value in self._values.items()
            if each == owner and key != draft.key and not self._has_ended(value)
        ]
        if len(other_values) >= self._limits.keys:
            raise too_many_keys(self._limits)
        if sum(value.size for value in other_values) + draft.size > self._limits.bytes:
            raise too_many_bytes(self._limits)
        now = datetime.fromtimestamp(self._clock(), UTC)
        value = StoredValue(
            key=draft.key,
            state_type=draft.state_type,
            version=max(current + 1, int(now.timestamp() * 1_000_000)),
            updated_at=now,
            expires_at=None if draft.seconds is None else now + timedelta(seconds=draft.seconds),
            value=draft.value,
            metadata=draft.metadata,
        )
        self._remove(owner, draft.key)
        self._values[owner, draft.key] = value
        self._bytes += value.size
        while self._bytes > self._max_bytes:
            self._remove(*next(iter(self._values)))
        return value

    async def delete(self, owner: str, key: str, expected: int | None) -> bool:
        """Delete the value of a key. Return whether there was one. Raise `VersionConflict`."""
        stored = self._live_value(owner, key)
        if stored is None:
            return False
        if expected is not None and expected != stored.version:
            raise version_conflict(stored.version)
        self._remove(owner, key)
        return True

    async def keys(
        self, owner: str, state_type: str, prefix: str, after: str, limit: int
    ) -> Sequence[StoredKey]:
        """Return at most `limit` keys with a prefix, sorted, starting after `after`."""
        matching = [
            value
            for (each, key), value in self._values.items()
            if each == owner
            and value.state_type == state_type
            and key.startswith(prefix)
            and key > after
            and not self._has_ended(value)
        ]
        return sorted(matching, key=lambda value: value.key)[:limit]

    async def erase(self, owner: str) -> int:
        """Delete all values of an owner. Return their number."""
        keys = [each for each in self._values if each[0] == owner]
        for each in keys:
            self._remove(*each)
        return len(keys)

    async def expire(self) -> int:
        """Delete expired values. Return their number."""
        ended = [each for each, value in self._values.items() if self._has_ended(value)]
        for each in ended:
            self._remove(*each)
        return len(ended)

    def _live_value(self, owner: str, key: str) -> StoredValue | None:
        value = self._values.get((owner, key))
        return None if value is None or self._has_ended(value) else value

    def _has_ended(self, value: StoredValue) -> bool:
        return value.expires_at is not None and value.expires_at.timestamp() <= self._clock()

    def _remove(self, owner: str, key: str) -> None:
        value = self._values.pop((owner, key), None)
        if value is not None:
            self._bytes -= value.size
