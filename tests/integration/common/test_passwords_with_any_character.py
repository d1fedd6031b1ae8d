"""NATS, PostgreSQL and Redis accept a password of special characters, written as %XX in the URL."""

import asyncio
import json
import secrets
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from svgx_common import postgres, redis
from svgx_common.messaging.bus import Bus
from svgx_common.settings import WrongSetting
from svgx_devstack import DevStack, ports
from tests.integration.common.nats_server import nats_server

PASSWORD = "@:/?#[]!$&()*+,;=% \\'\"`{}|^~<>-_.25%41é🔑"
ENCODED = quote(PASSWORD, safe="")


@pytest.mark.parametrize(
    ("authorization", "credentials"),
    [
        ({"user": PASSWORD, "password": PASSWORD}, f"{ENCODED}:{ENCODED}"),
        ({"token": PASSWORD}, ENCODED),
    ],
)
async def test_nats_accepts_encoded_credentials(
    tmp_path: Path, authorization: dict[str, str], credentials: str
) -> None:
    """Proves R-CONFIG-4: NATS gets the decoded credentials.

    An address without credentials gets those of another address in `NATS_URL`.
    """
    # NATS does not read escapes such as \u00e9.
    content = json.dumps(authorization, ensure_ascii=False)
    async with nats_server(tmp_path, f"authorization: {content}") as started, asyncio.timeout(20):
        address = started.removeprefix("nats://")
        dead = f"nats://{credentials}@{ports.HOST}:{ports.choose()}"
        for url in (f"nats://{credentials}@{address}", f"{dead},nats://{address}"):
            bus = await Bus.connect(url, "state", "one")
            await bus.settle()
            await bus.close()


async def test_postgresql_accepts_an_encoded_password(backing: DevStack) -> None:
    """Proves R-CONFIG-4: `postgres.connect` accepts the password, and refuses a wrong password or database."""
    server = urlsplit(backing.postgres_url)
    role = f"special_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(backing.postgres_superuser_url("postgres"))
    try:
        quoted = await admin.fetchval("SELECT quote_literal($1::text)", PASSWORD)
        await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD {quoted}")
        address = f"127.0.0.1:{server.port}/svgx"
        url = f"postgresql://{role}:{ENCODED}@{address}"
        async with postgres.connect(url, schema=role, package="svgx_auth", pool_size=1) as database:
            await database.check()
        for wrong in (
            f"postgresql://{role}:wrong@{address}",
            f"postgresql://{role}:{ENCODED}@127.0.0.1:{server.port}/missing",
        ):
            with pytest.raises(WrongSetting, match=r"^POSTGRES_URL: the server ") as refused:
                async with postgres.connect(wrong, schema=role, package="svgx_auth", pool_size=1):
                    pass
            assert "wrong" not in str(refused.value)
    finally:
        cleaner = await asyncpg.connect(backing.postgres_superuser_url("svgx"))
        await cleaner.execute(f"DROP SCHEMA IF EXISTS {role} CASCADE")
        await cleaner.execute(f"DROP ROLE IF EXISTS {role}")
        await cleaner.close()
        await admin.close()


async def test_redis_accepts_an_encoded_password(backing: DevStack) -> None:
    """Proves R-CONFIG-4: pooled and single connections log in with the decoded password."""
    server = urlsplit(backing.redis_url)
    user = f"special-{secrets.token_hex(4)}"
    admin = redis.connect(backing.redis_url)
    try:
        await admin.execute_command(  # type: ignore[no-untyped-call]
            *("ACL", "SETUSER", user, "on", f">{PASSWORD}", "~*", "+@all")
        )
        url = f"redis://{user}:{ENCODED}@{server.hostname}:{server.port}/0"
        client = redis.connect(url)
        assert await client.execute_command("ACL", "WHOAMI") == user  # type: ignore[no-untyped-call]
        await client.aclose()
        single = redis.unpooled_connection(url)
        await single.connect()  # type: ignore[no-untyped-call]
        await single.send_command("ACL", "WHOAMI")
        assert await single.read_response() == user
        await single.disconnect()
    finally:
        await admin.execute_command("ACL", "DELUSER", user)  # type: ignore[no-untyped-call]
        await admin.aclose()
