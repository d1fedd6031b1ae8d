"""Values in Redis. Redis holds only data that may be lost: a restart or an eviction may remove any value.

An eviction removes single Redis keys. An account's values count as missing once their index was evicted, so that lists,
limits and reads always agree. The sizes are counted again after their eviction.
"""

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.redis import Redis, RedisError
from svgx_state.values.store import (
    AccountLimits,
    Draft,
    StoredKey,
    StoredValue,
    refusal,
    version_conflict,
)

log = structlog.get_logger(__name__)

SCANNED_TOGETHER = 1000
"""Number of keys that one command scans. Other clients of Redis wait meanwhile."""

_GLOB_CHARACTERS = re.compile(r"[*?\[\]\\^]")
"""Characters with a meaning in a pattern of Redis."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ANSWER_SECONDS = 10
"""Seconds for which Redis keeps the answer of a call. The client repeats a call after at most three seconds."""

# Begins each script that changes a value. The client repeats a script when it has lost the connection. If the first
# attempt has changed the value, the repetition changes nothing and returns the first answer.
#
# The last of KEYS: the answer of this call. It has the same hash tag as the others.
_ANSWER_ONCE = f"""
local answered = redis.call('GET', KEYS[4])
if answered then return cjson.decode(answered) end
local function answer(...)
    local values = {{...}}
    redis.call('SET', KEYS[4], cjson.encode(values), 'PX', {_ANSWER_SECONDS * 1000})
    return values
end
"""

# Stores a value. The Redis keys of one account have the same hash tag, so a Redis cluster keeps them on one server.
#
# KEYS: the record of the value; the index, a sorted set with the keys of the account's values, by the Unix milliseconds
# at which each value ends; a hash with the size of each value by its key. ARGV: key, state type, value, metadata,
# expected version ('' for any), milliseconds to live, bytes of this value, the account's limits of keys and of bytes,
# and the prefix of the account's records.
# Returns 'ok', the new version, the Unix microseconds of the write and the Unix milliseconds at which the value ends.
# For a refusal, returns its reason, and the stored version or type.
_PUT = (
    _ANSWER_ONCE
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
for _, key in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', now_ms, 'BYSCORE')) do
    redis.call('HDEL', KEYS[3], key)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
if redis.call('ZCARD', KEYS[2]) ~= redis.call('HLEN', KEYS[3]) then
    -- Redis has evicted the index or the sizes. Count the sizes of the values in the index again.
    redis.call('DEL', KEYS[3])
    for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
        local record = ARGV[10] .. key
        local size = redis.call('HSTRLEN', record, 'value') + redis.call('HSTRLEN', record, 'metadata')
        if size > 0 then
            redis.call('HSET', KEYS[3], key, size)
        else
            redis.call('ZREM', KEYS[2], key)
        end
    end
    redis.call('PEXPIRE', KEYS[3], redis.call('PTTL', KEYS[2]))
end
local stored = {}
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    stored = redis.call('HMGET', KEYS[1], 'version', 'state_type')
end
local current = tonumber(stored[1] or 0)
if ARGV[5] ~= '' and tonumber(ARGV[5]) ~= current then
    return {'stale', string.format('%.0f', current)}
end
if current > 0 and stored[2] ~= ARGV[2] then return {'type', stored[2]} end
local keys, bytes = 0, 0
local sizes = redis.call('HGETALL', KEYS[3])
for i = 1, #sizes, 2 do
    if sizes[i] ~= ARGV[1] then
        keys = keys + 1
        bytes = bytes + tonumber(sizes[i + 1])
    end
end
if keys >= tonumber(ARGV[8]) then return {'keys', ''} end
if bytes + tonumber(ARGV[7]) > tonumber(ARGV[9]) then return {'bytes', ''} end
local version = string.format('%.0f', math.max(current + 1, now))
local ends = string.format('%.0f', now_ms + tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'state_type', ARGV[2], 'value', ARGV[3], 'metadata', ARGV[4],
    'version', version, 'updated', string.format('%.0f', now), 'ends', ends)
redis.call('PEXPIREAT', KEYS[1], ends)
redis.call('ZADD', KEYS[2], ends, ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[7])
for i = 2, 3 do
    if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[6]) then redis.call('PEXPIREAT', KEYS[i], ends) end
end
return answer('ok', version, string.format('%.0f', now), ends)
"""
)

_DELETE = (
    _ANSWER_ONCE
    + """
local current = redis.call('ZSCORE', KEYS[2], ARGV[1]) and redis.call('HGET', KEYS[1], 'version')
if not current then
    redis.call('DEL', KEYS[1])
    return {'missing', ''}
end
if ARGV[2] ~= '' and ARGV[2] ~= current then return {'stale', current} end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return answer('ok', current)
"""
)


class RedisStore:
    """A store in Redis. Its methods raise `Unavailable` while Redis is not reachable."""

    def __init__(self, client: Redis, limits: AccountLimits) -> None:
        self._client = client
        self._limits = limits
        self._put_script = client.register_script(_PUT)
        self._delete_script = client.register_script(_DELETE)

    async def get(self, owner: str, key: str) -> StoredValue | None:
        """Return the value of a key, or None."""
        async with _redis_errors(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.zscore(_index(owner), key)
            pipeline.hgetall(_record(owner, key))
            ends, record = await pipeline.execute()
        if ends is None or not record:
            return None
        return StoredValue(
            **_key_fields(key, record), value=record["value"], metadata=record["metadata"]
        )

    async def put(self, owner: str, draft: Draft, expected: int | None) -> StoredKey:
        """Store a value, as `StateStore.put` describes."""
        assert draft.seconds is not None
        arguments = [
            draft.key,
            draft.state_type,
            draft.value,
            draft.metadata,
            "" if expected is None else expected,
            round(draft.seconds * 1000),
            draft.size,
            self._limits.keys,
            self._limits.bytes,
            _record(owner, ""),
        ]
        async with _redis_errors():
            outcome, *details = await self._put_script(keys=_keys(owner, draft.key), args=arguments)
        if outcome != "ok":
            raise refusal(outcome, details[0], self._limits)
        version, updated, ends = details
        record = {
            "state_type": draft.state_type,
            "version": version,
            "updated": updated,
            "ends": ends,
        }
        return StoredKey(**_key_fields(draft.key, record))

    async def delete(self, owner: str, key: str, expected: int | None) -> bool:
        """Delete the value of a key. Return whether there was one.

        Raises `VersionConflict` when the stored version is not `expected`.
        """
        async with _redis_errors():
            outcome, current = await self._delete_script(
                keys=_keys(owner, key), args=[key, "" if expected is None else expected]
            )
        if outcome == "stale":
            raise version_conflict(int(current))
        return bool(outcome == "ok")

    async def keys(
        self, owner: str, state_type: str, prefix: str, after: str, limit: int
    ) -> Sequence[StoredKey]:
        """Return at most `limit` keys with a prefix, sorted, starting after `after`."""
        async with _redis_errors():
            names = cast(list[str], await self._client.zrange(_index(owner), 0, -1))
            wanted = sorted(name for name in names if name.startswith(prefix) and name > after)
            async with self._client.pipeline(transaction=False) as pipeline:
                for name in wanted:
                    pipeline.hmget(
                        _record(owner, name), ["state_type", "version", "updated", "ends"]
                    )
                records = await pipeline.execute() if wanted else []
        matching = [
            StoredKey(
                **_key_fields(
                    name,
                    dict(zip(("state_type", "version", "updated", "ends"), record, strict=True)),
                )
            )
            for name, record in zip(wanted, records, strict=True)
            if record[0] == state_type
        ]
        return matching[:limit]

    async def erase(self, owner: str) -> int:
        """Delete all values of an owner, and all other keys of Redis that name the owner. Return the number of values.

        This scans all keys of Redis, because values remain in Redis when their index was evicted.
        """
        removed = 0
        async with _redis_errors():
            await self._client.delete(_index(owner), _sizes(owner))
            tag = _GLOB_CHARACTERS.sub(r"\\\g<0>", f"{{{owner}}}")
            pattern = f"svgx:value*:{tag}:*"
            async for name in self._client.scan_iter(pattern, count=SCANNED_TOGETHER):
                unlinked = await self._client.unlink(name)
                if name.startswith(_record(owner, "")):
                    removed += unlinked
        return removed

    async def expire(self) -> int:
        """Return 0, because Redis removes expired values by itself."""
        return 0


@asynccontextmanager
async def _redis_errors() -> AsyncIterator[None]:
    """Raise `Unavailable` when Redis does not answer or refuses a command."""
    try:
        yield
    except (RedisError, OSError) as error:
        log.warning("redis failed for a value", error=type(error).__name__)
        raise Unavailable(
            "values in Redis cannot be used at the moment; try again, or set the "
            "state_type if the value is not in Redis",
            retry_after=1.0,
        ) from error


def _key_fields(key: str, record: dict[str, str]) -> dict[str, Any]:
    """Return the fields of a `StoredKey`. In Redis, `updated` is in microseconds, and `ends` in milliseconds."""
    return {
        "key": key,
        "state_type": record["state_type"],
        "version": int(record["version"]),
        "updated_at": _EPOCH + timedelta(microseconds=int(record["updated"])),
        "expires_at": _EPOCH + timedelta(milliseconds=int(record["ends"])),
    }


def _keys(owner: str, key: str) -> list[str]:
    """Return the KEYS of a script that changes a value. The last one is new in each call."""
    return [_record(owner, key), _index(owner), _sizes(owner), _answer(owner, secrets.token_hex(8))]


def _record(owner: str, key: str) -> str:
    return f"svgx:value:{{{owner}}}:{key}"


def _index(owner: str) -> str:
    return f"svgx:value-keys:{{{owner}}}"


def _sizes(owner: str) -> str:
    return f"svgx:value-sizes:{{{owner}}}"


def _answer(owner: str, call: str) -> str:
    return f"svgx:value-answer:{{{owner}}}:{call}"
