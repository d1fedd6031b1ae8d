"""A gateway in this process with real servers, and stand-ins for services."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from svgx_common.contract.operation import Operation, Reply, Request
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    ListRevocationsRequest,
    RevocationList,
)
from svgx_common.health import Health
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Handler, Responder
from svgx_common.runtime import Runtime
from svgx_common.tokens import access_tokens as tokens
from svgx_common.tokens.signing_keys import secret_key
from svgx_devstack import DevStack
from svgx_gateway.app import build
from svgx_gateway.settings import GatewaySettings
from tests.integration.common.example_operations import PartialResponder

_SECRET = secrets.token_hex(32)


def bearer(role: Role = Role.ADMIN) -> dict[str, str]:
    """Return request headers with an access token of a new account with this role."""
    now, name = int(time.time()), secrets.token_hex(6)
    claims = tokens.AccessClaims(name, name, role, name, name, now, now + 600)
    return {"Authorization": f"Bearer {tokens.sign(claims, secret_key(_SECRET))}"}


async def _nothing_revoked(_: ListRevocationsRequest, __: Call) -> RevocationList:
    return RevocationList(items=[], as_of=datetime.now(UTC))


@asynccontextmanager
async def gateway(backing: DevStack, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway with these settings and no revocations. Yield a client with the credentials of an admin."""
    replica_id = secrets.token_hex(6)
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", replica_id)
    loaded = GatewaySettings.model_validate(
        {"jwt_secret": _SECRET, "redis_url": backing.redis_url, **settings}
    )
    responder = Responder(bus, "0")
    health = Health("gateway", replica_id, "0")
    runtime = Runtime(loaded, bus, responder, health, replica_id, "0")
    runtime.lag_checks.start()
    try:
        async with (
            answering(backing, LIST_REVOCATIONS, _nothing_revoked),
            build(runtime) as service,
        ):
            await responder.start()
            await bus.settle()
            while not (await health.report()).dependencies["revocations"].ok:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0)
            assert service.asgi is not None
            transport = httpx.ASGITransport(service.asgi)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://gateway", headers=bearer(), timeout=60
            ) as http:
                yield http
            await responder.drain()
    finally:
        runtime.lag_checks.stop()
        await bus.close()


@asynccontextmanager
async def answering(
    backing: DevStack, operation: Operation[Request, Reply], handler: Handler[Request, Reply]
) -> AsyncIterator[None]:
    """Answer this operation with `handler`, in place of its service."""
    bus = await Bus.connect(backing.nats_url(operation.service), operation.service, "stand-in")
    responder = PartialResponder(bus, "0")
    responder.answer(operation, handler)
    try:
        await responder.start()
        yield
        await responder.drain()
    finally:
        await bus.close()
