"""The service runs with a role that may not change the schema, as its README describes."""

import re
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from svgx_common.contract.audit import AuditEvent
from svgx_common.database import migrations
from svgx_common.database.hosts import Hosts
from svgx_common.doctor.findings import Status
from svgx_common.doctor.postgres import check_postgres
from svgx_common.messaging.bus import Bus
from svgx_common.settings import WrongSetting
from svgx_devstack import DevStack
from tests.integration.auth.conftest import replica
from tests.integration.auth.test_accounts import caller_of, create, login
from tests.integration.auth.test_audit import events_of
from tests.unit.house_rules.sources import ROOT


@pytest.fixture
async def role_url(backing: DevStack) -> AsyncIterator[str]:
    """Apply the migrations, grant a new role the rights that the README lists, and return its address."""
    hosts = Hosts(backing.postgres_url)
    await migrations.apply_when_usable(hosts, "auth", "svgx_auth", wait_seconds=20)
    parts = urlsplit(backing.postgres_url)
    role = f"auth_{secrets.token_hex(4)}"
    guide = (ROOT / "services/auth/README.md").read_text()
    (grants,) = re.findall(r"```sql\n(GRANT .*?)```", guide, re.DOTALL)
    admin = await asyncpg.connect(backing.postgres_superuser_url(parts.path.strip("/")))
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    await admin.execute(grants.replace("svgx_auth", role))
    yield f"postgresql://{role}:pw@{parts.hostname}:{parts.port}{parts.path}"
    await admin.execute(f"DROP OWNED BY {role}")
    await admin.execute(f"DROP ROLE {role}")
    await admin.close()


async def test_service_with_a_role_without_ownership_starts_and_cannot_change_the_audit_log(
    backing: DevStack, role_url: str
) -> None:
    """Proves R-AUTH-22: a role that is not the owner serves requests, and cannot change entries or their protection."""
    findings = await check_postgres(role_url, schema="auth", package="svgx_auth", connections=10)
    assert [each for each in findings if each.status is not Status.OK] == []
    async with replica(backing, postgres_url=role_url):
        bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
        try:
            await create(bus, "Ada")
            tokens = await login(bus, "Ada")
            assert AuditEvent.LOG_IN in await events_of(bus, caller_of(tokens).user_id)
        finally:
            await bus.close()
    connection = await asyncpg.connect(role_url, server_settings={"search_path": "auth"})
    for statement in (
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "DROP TABLE audit",
        "UPDATE audit SET address = NULL",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ):
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(statement)
    await connection.close()


async def test_start_of_a_role_without_usage_names_the_missing_grant(
    backing: DevStack, role_url: str
) -> None:
    """Proves R-CONFIG-8: a role that may not use the schema gets an error that names the grant."""
    parts = urlsplit(role_url)
    admin = await asyncpg.connect(backing.postgres_superuser_url(parts.path.strip("/")))
    await admin.execute(f"REVOKE USAGE ON SCHEMA auth FROM {parts.username}")
    await admin.close()
    with pytest.raises(WrongSetting, match="GRANT USAGE ON SCHEMA auth"):
        await migrations.apply_when_usable(Hosts(role_url), "auth", "svgx_auth", wait_seconds=20)
