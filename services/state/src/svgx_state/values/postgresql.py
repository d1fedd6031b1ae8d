"""Values in PostgreSQL: the table `stored_value`."""

from collections.abc import Sequence

from svgx_common.database.batches import remove_in_batches
from svgx_common.postgres import Database, Row
from svgx_state.values.store import (
    AccountLimits,
    Draft,
    StoredKey,
    StoredValue,
    refusal,
    version_conflict,
)

EXPIRED_AT_A_TIME = 1000
"""Largest number of rows that one statement of `expire` deletes, so that no statement holds locks for long."""


class PostgresStore:
    """A store in PostgreSQL. Its methods raise `Unavailable` while the database cannot be used."""

    def __init__(self, database: Database, limits: AccountLimits) -> None:
        self._database = database
        self._limits = limits

    async def get(self, owner: str, key: str) -> StoredValue | None:
        """Return the value of a key, or None."""
        row = await self._database.row("stored_value", owner, key)
        if row is None:
            return None
        return StoredValue(
            key=row["key"],
            state_type=row["state_type"],
            version=row["version"],
            updated_at=row["updated_at"],
            expires_at=row["expires_at"],
            value=row["value"],
            metadata=row["metadata"],
        )

    async def put(self, owner: str, draft: Draft, expected: int | None) -> StoredKey:
        """Store a value, as `StateStore.put` describes."""
        row = await self._database.row(
            "persist_value",
            owner,
            draft.key,
            draft.state_type,
            draft.value,
            draft.metadata,
            draft.size,
            draft.seconds,
            expected,
            self._limits.keys,
            self._limits.bytes,
        )
        assert row is not None
        if row["outcome"] != "ok":
            raise refusal(row["outcome"], row["detail"], self._limits)
        return StoredKey(
            key=draft.key,
            state_type=draft.state_type,
            version=row["new_version"],
            updated_at=row["written_at"],
            expires_at=row["ends_at"],
        )

    async def delete(self, owner: str, key: str, expected: int | None) -> bool:
        """Delete the value of a key. Return whether there was one. Raise `VersionConflict`."""
        row = await self._database.row("delete_stored_value", owner, key, expected)
        if row is None:
            return False
        if not row["deleted"]:
            raise version_conflict(row["version"])
        return True

    async def keys(
        self, owner: str, state_type: str, prefix: str, after: str, limit: int
    ) -> Sequence[StoredKey]:
        """Return at most `limit` keys with a prefix, sorted, starting after `after`."""
        rows = await self._database.rows("stored_keys", owner, state_type, prefix, after, limit)
        return [_key(row) for row in rows]

    async def erase(self, owner: str) -> int:
        """Delete all values of an owner. Return their number."""
        row = await self._database.row("erase_stored_values", owner)
        return row["number"] if row else 0

    async def expire(self) -> int:
        """Delete expired values. Return their number."""
        return await remove_in_batches(
            lambda rows: self._database.row("expire_stored_values", rows), EXPIRED_AT_A_TIME
        )


def _key(row: Row) -> StoredKey:
    return StoredKey(
        key=row["key"],
        state_type=row["state_type"],
        version=row["version"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
    )
