"""Passwords of PostgreSQL and Redis that are replaced while replicas with the old ones run."""

import secrets
from urllib.parse import urlsplit

import asyncpg

from svgx_common import postgres, redis
from svgx_devstack import DevStack


async def test_second_role_of_postgresql_works_on_the_tables_of_the_first(
    backing: DevStack,
) -> None:
    """Replicas with either role run side by side. Tables that the second role creates belong to the first role.

    The test drops a table and the record of its migration, so the second role creates the table again.
    Proves R-CONFIG-9.
    """
    server = urlsplit(backing.postgres_url)
    role, schema = f"second_{secrets.token_hex(4)}", f"replaced_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(backing.postgres_superuser_url("svgx"))
    try:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'new' IN ROLE svgx_user")
        await admin.execute(f"ALTER ROLE {role} SET role = 'svgx_user'")
        second = f"postgresql://{role}:new@127.0.0.1:{server.port}/svgx"
        async with postgres.connect(
            backing.postgres_url, schema=schema, package="svgx_state", pool_size=1
        ) as before:
            await admin.execute(
                f"DROP TABLE {schema}.configuration; DELETE FROM {schema}.migration WHERE name LIKE '0002%'"
            )
            async with postgres.connect(
                second, schema=schema, package="svgx_state", pool_size=1
            ) as after:
                await after.check()
                await after.row("create_canvas", "canvas", "of the second role", "user")
                row = await before.row("canvas_for", "canvas", "user")
                assert row is not None
                await before.row("set_configuration", "x", "{}", "user", 0)
                assert (await after.row("configuration", "x")) is not None
        owners = await admin.fetch(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = $1", schema
        )
        assert [row["tableowner"] for row in owners] == ["svgx_user"]
    finally:
        await admin.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await admin.execute(f"DROP ROLE IF EXISTS {role}")
        await admin.close()


async def test_redis_accepts_two_passwords_while_one_is_replaced(backing: DevStack) -> None:
    """The old password is removed when no replica has it any more. Proves R-CONFIG-9."""
    server = urlsplit(backing.redis_url)
    user = f"user-{secrets.token_hex(4)}"

    def url(password: str) -> str:
        return f"redis://{user}:{password}@{server.hostname}:{server.port}/0"

    admin = redis.connect(backing.redis_url)
    old, new = redis.connect(url("old")), redis.connect(url("new"))
    try:
        await admin.acl_setuser(
            user, enabled=True, passwords=["+old"], keys=["*"], categories=["+@all"]
        )
        await redis.check(old)
        await admin.acl_setuser(
            user, enabled=True, passwords=["+new"], keys=["*"], categories=["+@all"]
        )
        await redis.check(new)
        await redis.check(old)
        await admin.acl_setuser(
            user, enabled=True, passwords=["-old"], keys=["*"], categories=["+@all"]
        )
        await redis.check(new)
    finally:
        await admin.acl_deluser(user)
        for client in (old, new, admin):
            await client.aclose()
