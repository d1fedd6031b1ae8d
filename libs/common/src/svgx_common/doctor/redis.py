"""The check that Redis is reachable, accepts the password, and accepts writes even when its memory is full."""

import asyncio
import ssl
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from svgx_common.doctor.certificates import check_peer, verification_failed
from svgx_common.doctor.findings import Finding, failed, ok, warning
from svgx_common.redis import write_health_key

NAME = "redis"
OLDEST_VERSION = 7
_WITHOUT_REDIS = "Without Redis, the services work with restrictions."


async def check_redis(url: str) -> list[Finding]:
    """Check the server of a `REDIS_URL`."""
    client = Redis.from_url(
        url,
        socket_connect_timeout=3.0,
        socket_timeout=3.0,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return await _check(client, _address(url))
    finally:
        await client.aclose()


async def _check(client: Redis, address: str) -> list[Finding]:
    try:
        await write_health_key(client)
    except (RedisError, OSError, TimeoutError) as error:
        return [_refusal(address, error)]
    return [ok(NAME, f"{address} accepts writes"), *await _check_server(client)]


def _refusal(address: str, error: Exception) -> Finding:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError):
        return verification_failed(NAME, cause)
    match error:
        case AuthenticationError():
            detail, fix = (
                "refuses the user or the password",
                "Correct the user and the password in REDIS_URL.",
            )
        case NoPermissionError():
            detail = "does not allow the user to set the key svgx:health"
            fix = "Allow the user of REDIS_URL all commands on the keys svgx:* (ACL SETUSER)."
        case ReadOnlyError():
            detail, fix = "is a read-only replica", "Name the primary in REDIS_URL."
        case ResponseError():
            detail = "refuses writes"
            fix = "Raise maxmemory, or set maxmemory-policy to volatile-lru, and look at the server's log."
        case _:
            detail = "is not reachable"
            fix = f"Start Redis, and check host and port in REDIS_URL and the network policy. {_WITHOUT_REDIS}"
    return failed(NAME, f"{address} {detail}", fix)


async def _check_server(client: Redis) -> list[Finding]:
    try:
        async with asyncio.timeout(3):
            info = await client.info()
    except (RedisError, TimeoutError):
        fix = "Allow the user the command INFO, so that the doctor can read the version and policy."
        return [
            warning(f"{NAME} server", "the version and the eviction policy cannot be read", fix)
        ]
    findings = [_check_version(info), _check_policy(info)]
    for connection in getattr(client.connection_pool, "_available_connections", ()):
        writer = getattr(connection, "_writer", None)
        if writer is not None:
            findings += check_peer(NAME, writer.get_extra_info("ssl_object"))
    return findings


def _check_version(info: dict[str, object]) -> Finding:
    check = f"{NAME} version"
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", ""))
    # Valkey also states the version of Redis with which it is compatible.
    compatible = str(info.get("redis_version", version)).partition(".")[0]
    if compatible.isdecimal() and int(compatible) < OLDEST_VERSION:
        fix = f"Upgrade to Redis {OLDEST_VERSION} or Valkey."
        return warning(check, f"{name} {version} is not tested", fix)
    return ok(check, f"{name} {version}")


def _check_policy(info: dict[str, object]) -> Finding:
    check, policy = f"{NAME} eviction", str(info.get("maxmemory_policy", ""))
    limited = str(info.get("maxmemory", "0")) != "0"
    fix = "Set maxmemory-policy to volatile-lru: every key of the services has a time to live."
    if limited and policy == "noeviction":
        return warning(check, "refuses writes when its memory is full (noeviction)", fix)
    if policy.startswith("allkeys"):
        return warning(check, f"may evict leases and limits in use ({policy})", fix)
    return ok(check, policy if limited else f"{policy}, without a memory limit")


def _address(url: str) -> str:
    """Return the host and port of a URL, or the path of its socket."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
