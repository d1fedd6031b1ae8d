"""The doctor's checks of PostgreSQL and Redis, with real servers that have one fault each."""

import secrets
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from svgx_common.database import migrations
from svgx_common.database.hosts import Hosts
from svgx_common.doctor.findings import Finding, Status
from svgx_common.doctor.postgres import check_postgres
from svgx_common.doctor.redis import check_redis
from svgx_devstack import DevStack

PACKAGE = "svgx_state"


def failures(findings: list[Finding]) -> dict[str, Finding]:
    """Return the failed checks by name. Fail if one does not say how to correct its fault."""
    found = {each.check: each for each in findings if each.status is Status.FAILED}
    assert all(each.fix for each in found.values())
    return found


@pytest.fixture
async def schema(backing: DevStack) -> AsyncIterator[str]:
    """Create a schema with all migrations of the state service, and drop it after the test."""
    name = f"doctor_{secrets.token_hex(4)}"
    await migrations.apply(Hosts(backing.postgres_url), name, PACKAGE)
    yield name
    await run(backing, f'DROP SCHEMA "{name}" CASCADE')


async def run(backing: DevStack, statement: str) -> None:
    """Run a statement as the owner of the tables."""
    connection = await asyncpg.connect(backing.postgres_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def check(url: str, schema: str, connections: int = 10) -> list[Finding]:
    return await check_postgres(url, schema=schema, package=PACKAGE, connections=connections)


async def test_healthy_database_has_no_fault(backing: DevStack, schema: str) -> None:
    """Proves R-CONFIG-7: every check of the database passes, and none shows the password."""
    findings = await check(backing.postgres_url, schema)
    assert {each.status for each in findings} == {Status.OK}
    assert {each.check for each in findings} == {
        "postgresql",
        *(
            f"postgresql {part}"
            for part in ("version", "encoding", "writes", "connections", "rights", "migrations")
        ),
        "postgresql clock",
    }
    password = backing.postgres_url.partition("@")[0].rpartition(":")[2]
    assert all(password not in each.detail + each.fix for each in findings)


@pytest.mark.parametrize(
    ("break_url", "detail"),
    [
        (lambda url: url.replace("@", "x@"), "refuses the user or the password"),
        (lambda url: url.replace("svgx_user", "nobody"), "refuses the user or the password"),
        (lambda url: f"{url}_unknown", "does not have the database"),
        (lambda _: "postgresql://svgx:hunter2@127.0.0.1:1/svgx", "is not reachable"),
        # No host is a standby. The message names the role that a service needs, and not the requested one.
        (lambda url: f"{url}?target_session_attrs=standby", "no host is a primary"),
    ],
    ids=["wrong password", "unknown user", "unknown database", "unreachable", "wrong role"],
)
async def test_refused_connection_is_named(
    backing: DevStack, break_url: Callable[[str], str], detail: str
) -> None:
    """Proves R-CONFIG-7: the one failure names the host and the fault, and not the password."""
    url = break_url(backing.postgres_url)
    (finding,) = await check(url, "state")
    assert finding.status is Status.FAILED
    assert detail in finding.detail
    assert url.partition("@")[0].rpartition(":")[2] not in finding.detail + finding.fix


async def test_missing_migration_fails_and_a_newer_one_warns(
    backing: DevStack, schema: str
) -> None:
    """Proves R-CONFIG-7: the first missing migration is named, with the command that applies it."""
    newest = migrations.migrations_of(PACKAGE)[-1].name
    await run(backing, f"""DELETE FROM "{schema}".migration WHERE name = '{newest}'""")
    found = failures(await check(backing.postgres_url, schema))
    assert found.keys() == {"postgresql migrations"}
    assert newest in found["postgresql migrations"].detail
    assert "migrate" in found["postgresql migrations"].fix
    await run(
        backing,
        f"""INSERT INTO "{schema}".migration (name) VALUES ('{newest}'), ('9999_new.sql')""",
    )
    findings = await check(backing.postgres_url, schema)
    (warned,) = [each for each in findings if each.status is not Status.OK]
    assert (warned.status, warned.check) == (Status.WARNING, "postgresql migrations")
    assert "9999_new.sql" in warned.detail


async def test_database_before_the_first_start_has_a_warning(backing: DevStack) -> None:
    """Proves R-CONFIG-7: the service creates the schema, so its absence is no failure."""
    findings = await check(backing.postgres_url, "not_there_yet")
    assert failures(findings) == {}
    (warned,) = [each for each in findings if each.status is Status.WARNING]
    assert warned.check == "postgresql migrations"


async def test_read_only_database_fails(backing: DevStack, schema: str) -> None:
    """Proves R-CONFIG-7: a server that refuses writes is named."""
    url = f"{backing.postgres_url}?default_transaction_read_only=on"
    found = failures(await check(url, schema))
    assert found.keys() == {"postgresql writes"}
    assert "read-only" in found["postgresql writes"].detail


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
async def test_missing_right_on_a_table_fails(backing: DevStack, schema: str, right: str) -> None:
    """Proves R-CONFIG-7: the role needs each of the four rights, and the fix names the schema of the table."""
    await run(backing, f'REVOKE {right} ON "{schema}".canvas FROM svgx_user')
    found = failures(await check(backing.postgres_url, schema))
    assert found.keys() == {"postgresql rights"}
    assert schema in found["postgresql rights"].fix


async def test_role_that_does_not_own_the_tables_of_state_fails(
    backing: DevStack, schema: str
) -> None:
    """Proves R-CONFIG-7: state makes and drops partitions, so it needs more than the four rights."""
    parts = urlsplit(backing.postgres_url)
    role = f"doctor_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(backing.postgres_superuser_url(parts.path.strip("/")))
    await admin.execute(
        f"""CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA "{schema}" TO {role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO {role}"""
    )
    try:
        url = f"postgresql://{role}:pw@{parts.hostname}:{parts.port}{parts.path}"
        found = failures(await check(url, schema))
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()
    assert found.keys() == {"postgresql rights"}
    assert "partitions of journal" in found["postgresql rights"].detail


async def test_pool_beyond_the_servers_limit_fails(backing: DevStack, schema: str) -> None:
    """Proves R-CONFIG-7: one replica with such a pool could use up all connections."""
    found = failures(await check(backing.postgres_url, schema, connections=1000))
    assert found.keys() == {"postgresql connections"}
    assert "needs 1001" in found["postgresql connections"].detail


@pytest.fixture
async def valkey(backing: DevStack) -> AsyncIterator[Redis]:
    """Yield a connection to Valkey, and restore Valkey's configuration after the test."""
    client = Redis.from_url(backing.redis_url, decode_responses=True)
    yield client
    await client.replicaof("NO", "ONE")
    for name, value in (("maxmemory-policy", "volatile-lru"), ("maxmemory", "256mb")):
        await client.config_set(name, value)
    await client.aclose()


async def test_healthy_redis_has_no_fault(backing: DevStack) -> None:
    """Proves R-CONFIG-7: the server accepts writes, and its version and policy fit."""
    findings = await check_redis(backing.redis_url)
    assert {each.status for each in findings} == {Status.OK}
    assert [each.check for each in findings] == ["redis", "redis version", "redis eviction"]


@pytest.mark.parametrize(
    ("break_url", "detail"),
    [
        (lambda url: url.replace("@", "x@"), "refuses the user or the password"),
        (lambda url: "redis://" + url.partition("@")[2], "refuses the user or the password"),
        (lambda _: "redis://:hunter2@127.0.0.1:1/0", "is not reachable"),
        (lambda _: "redis://:hunter2@host.invalid:6379/0", "is not reachable"),
        (lambda _: "unix:///nowhere/redis.sock", "is not reachable"),
    ],
    ids=["wrong password", "no password", "unreachable", "unknown host", "no socket"],
)
async def test_refused_redis_is_named(
    backing: DevStack, break_url: Callable[[str], str], detail: str
) -> None:
    """Proves R-CONFIG-7: the one failure names the fault, and no password."""
    own = urlsplit(backing.redis_url).password
    assert own
    (finding,) = await check_redis(break_url(backing.redis_url))
    assert (finding.status, finding.check) == (Status.FAILED, "redis")
    assert detail in finding.detail
    assert own not in finding.detail + finding.fix
    assert "hunter2" not in finding.detail + finding.fix


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ("noeviction", Status.WARNING),
        ("allkeys-lru", Status.WARNING),
        ("volatile-ttl", Status.OK),
    ],
)
async def test_eviction_policy_is_judged(
    backing: DevStack, valkey: Redis, policy: str, status: Status
) -> None:
    """Proves R-CONFIG-7: a full server must not refuse writes, and must not evict keys without a time to live."""
    await valkey.config_set("maxmemory-policy", policy)
    findings = {each.check: each for each in await check_redis(backing.redis_url)}
    assert findings["redis eviction"].status is status


async def test_full_redis_and_replica_fail(backing: DevStack, valkey: Redis) -> None:
    """Proves R-CONFIG-7: a server that refuses writes is named with the reason."""
    await valkey.config_set("maxmemory-policy", "noeviction")
    await valkey.config_set("maxmemory", "1")
    (full,) = await check_redis(backing.redis_url)
    assert (full.status, "refuses writes" in full.detail) == (Status.FAILED, True)
    await valkey.config_set("maxmemory", "256mb")
    await valkey.replicaof("127.0.0.1", "1")
    (replica,) = await check_redis(backing.redis_url)
    assert (replica.status, "replica" in replica.detail) == (Status.FAILED, True)
