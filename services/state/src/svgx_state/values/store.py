"""The interface of all stores of values. Each store passes the same tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from svgx_common.contract.errors import Conflict, TooLarge, VersionConflict

SHARED = "*"
"""The owner of shared values. No account has this id."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A stored value without its content. `version` grows with each write and never repeats."""

    key: str
    state_type: str
    version: int
    updated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredValue(StoredKey):
    """A stored value. `value` and `metadata` are compact JSON."""

    value: str
    metadata: str

    @property
    def size(self) -> int:
        """The bytes of the value and its metadata."""
        return len(self.value.encode()) + len(self.metadata.encode())


@dataclass(frozen=True, slots=True)
class Draft:
    """A value to store. `value` and `metadata` are compact JSON. `seconds` is the value's time to live, or None."""

    key: str
    state_type: str
    value: str
    metadata: str
    seconds: float | None

    @property
    def size(self) -> int:
        """The bytes of the value and its metadata."""
        return len(self.value.encode()) + len(self.metadata.encode())


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """The number of keys, and the bytes of all values, that one account may have in one store."""

    keys: int
    bytes: int


class StateStore(Protocol):
    """A store of values by owner and key. An expired value counts as missing.

    Each method may raise `Unavailable`. `put` and `delete` are atomic: of two calls that expect the same version, at
    most one succeeds.
    """

    async def get(self, owner: str, key: str) -> StoredValue | None:
        """Return the value of a key, or None."""
        ...

    async def put(self, owner: str, draft: Draft, expected: int | None) -> StoredKey:
        """Store a value. `expected` is the version to replace, 0 for a new key, or None for any version.

        Raise `VersionConflict` for another stored version, `Conflict` when the key has a value of another type, and
        `TooLarge` when the account would be over its limits.
        """
        ...

    async def delete(self, owner: str, key: str, expected: int | None) -> bool:
        """Delete the value of a key. Return whether there was one. Raise `VersionConflict`."""
        ...

    async def keys(
        self, owner: str, state_type: str, prefix: str, after: str, limit: int
    ) -> Sequence[StoredKey]:
        """Return at most `limit` keys with a prefix, in the order of their code points, starting after `after`."""
        ...

    async def erase(self, owner: str) -> int:
        """Delete all values of an owner. Return their number."""
        ...

    async def expire(self) -> int:
        """Delete expired values. Return their number."""
        ...


def version_conflict(current: int) -> VersionConflict:
    """Return the error for a version that is not the stored one. `current` is 0 without a value."""
    detail = (
        "version: the stored value has another version; read it again"
        if current
        else "version: the key has no value, or its time to live has ended; use version 0 for a new key"
    )
    return VersionConflict(detail, field="version", current_version=current)


def wrong_type(stored: str) -> Conflict:
    """Return the error for a key that has a value of another state type."""
    return Conflict(
        f"state_type: the key has a value of the type {stored}; use this type, or delete the value",
        field="state_type",
    )


def too_many_keys(limits: AccountLimits) -> TooLarge:
    """Return the error for an account with too many keys."""
    return TooLarge(
        f"key: the account has {limits.keys} keys in this store, which is the limit; delete some",
        field="key",
        limit=limits.keys,
    )


def too_many_bytes(limits: AccountLimits) -> TooLarge:
    """Return the error for an account with too many bytes."""
    return TooLarge(
        f"value: the account's values in this store would have more than {limits.bytes} bytes; delete some",
        field="value",
        limit=limits.bytes,
    )


def refusal(outcome: str, detail: str, limits: AccountLimits) -> Exception:
    """Return the error for a refusal by the function in PostgreSQL or the script in Redis.

    `detail` is the stored version or type.
    """
    match outcome:
        case "stale":
            return version_conflict(int(detail))
        case "type":
            return wrong_type(detail)
        case "keys":
            return too_many_keys(limits)
        case _:
            return too_many_bytes(limits)
