"""The measured handler in its two forms: a bare FastAPI application, and a service on the bus."""

import asyncio
import os
from datetime import UTC, datetime

import uvicorn
from fastapi import FastAPI

from svgx_common.contract.auth import JWKS, ME, Jwks, JwksRequest, MeRequest, User
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    ListRevocationsRequest,
    RevocationList,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.runtime import freeze_startup_objects

USER = User(
    id="9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f",
    username="ada",
    email="ada@example.org",
    role=Role.EDITOR,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


async def me() -> User:
    """Return a user from memory, so that the benchmark measures only the path to the handler."""
    return USER


def bare(port: int) -> None:
    """Serve the handler with FastAPI and the same HTTP server as the gateway."""
    app = FastAPI()
    app.get("/auth/me")(me)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
    )


async def service() -> None:
    """Serve the handler as `svgx.auth.me`, and the operations that a starting gateway needs. It never returns."""
    bus = await Bus.connect(os.environ["NATS_URL"], "auth", "bench")

    async def answer(_: MeRequest, __: Call) -> User:
        return await me()

    async def keys(_: JwksRequest, __: Call) -> Jwks:
        return Jwks(keys=[])

    async def revoked(_: ListRevocationsRequest, __: Call) -> RevocationList:
        return RevocationList(items=[], as_of=datetime.now(UTC))

    responder = _PartialResponder(bus, "0")
    responder.answer(ME, answer)
    responder.answer(JWKS, keys)
    responder.answer(LIST_REVOCATIONS, revoked)
    await responder.start()
    freeze_startup_objects()
    await asyncio.Event().wait()


class _PartialResponder(Responder):
    async def start(self) -> None:
        """Start although the service's other operations have no handler, which `Responder.start` would refuse."""
        await self.join()
