"""Fixtures: an auth replica in this process, and a gateway's connection to the bus."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest
from pydantic import SecretStr

from svgx_auth.app import build
from svgx_auth.oidc.settings import OidcProvider
from svgx_auth.settings import AuthSettings
from svgx_common.health import Health
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Responder
from svgx_common.postgres import Row
from svgx_common.runtime import Runtime
from svgx_devstack import DevStack

Tables: TypeAlias = "asyncpg.Connection[Row]"
SECRET = "the tests' secret of more than thirty-two bytes"
ADMIN_PASSWORD = "the first admin's password"
CHEAP_HASHES = {"argon2_memory_kib": 64, "argon2_passes": 1}
"""Settings below the permitted minimum. A hash takes 0.1 ms of processor time with them, and otherwise 28 ms."""


@asynccontextmanager
async def replica(
    backing: DevStack,
    *,
    admin: str = "Root",
    admin_password: str = ADMIN_PASSWORD,
    keys: Path | None = None,
    providers: tuple[OidcProvider, ...] = (),
    workers: int = 2,
    connections: int = 10,
    secret: str = SECRET,
    other_secret: str = "",
    cheap_hashes: bool = True,
    postgres_url: str = "",
) -> AsyncIterator[None]:
    """Run one replica until the block ends. `admin` is the username of the first admin in its settings.

    `postgres_url` is the address of the database, the one of `backing` by default.

    Without `cheap_hashes`, the replica hashes passwords with the default settings.
    """
    replica_id = secrets.token_hex(6)
    bus = await Bus.connect(backing.nats_url("auth"), "auth", replica_id)
    responder = Responder(bus, "0")
    settings = AuthSettings(
        postgres_url=postgres_url or backing.postgres_url,
        jwt_secret=SecretStr(secret),
        jwt_other_secret=SecretStr(other_secret),
        jwt_keys_file=keys,
        public_url="http://localhost",
        oidc_providers=providers,
        password_workers=workers,
        database_pool_size=connections,
        svgx_admin_username=admin,
        svgx_admin_email=f"{admin.lower()}@example.org" if admin else "",
        svgx_admin_password=SecretStr(admin_password),
    )
    if cheap_hashes:
        settings = settings.model_copy(update=CHEAP_HASHES)
    runtime = Runtime(settings, bus, responder, Health("auth", replica_id, "0"), replica_id, "0")
    try:
        async with build(runtime):
            await responder.start()
            await bus.settle()
            try:
                yield
            finally:
                await responder.drain()
    finally:
        await bus.close()


@pytest.fixture(scope="module")
async def service(backing: DevStack) -> AsyncIterator[None]:
    """Run one replica for the tests of a module."""
    async with replica(backing):
        yield


@pytest.fixture
async def bus(backing: DevStack, service: None) -> AsyncIterator[Bus]:
    """A gateway's connection to the bus."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def tables(backing: DevStack, service: None) -> AsyncIterator[Tables]:
    """A separate connection to the service's tables."""
    connection = await asyncpg.connect(
        backing.postgres_url, server_settings={"search_path": "auth"}
    )
    try:
        yield connection
    finally:
        await connection.close()
