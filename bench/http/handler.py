"""The handler that both answer with, and its two homes: a bare FastAPI application, and a service on the bus."""

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
    """Who asks; from memory, so that nothing but the way there is measured."""
    return USER


def bare(port: int) -> None:
    """The handler in FastAPI, on the same server as the gateway's."""
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
    """The handler behind `svgx.auth.me`, and what a gateway asks auth before it begins, until the process is ended."""
    bus = await Bus.connect(os.environ["NATS_URL"], "auth", "bench")

    async def answer(_: MeRequest, __: Call) -> User:
        return await me()

    async def keys(_: JwksRequest, __: Call) -> Jwks:
        return Jwks(keys=[])

    async def revoked(_: ListRevocationsRequest, __: Call) -> RevocationList:
        return RevocationList(items=[], as_of=datetime.now(UTC))

    responder = _Only(bus, "0")
    responder.answer(ME, answer)
    responder.answer(JWKS, keys)
    responder.answer(LIST_REVOCATIONS, revoked)
    await responder.start()
    freeze_startup_objects()
    await asyncio.Event().wait()


class _Only(Responder):
    async def start(self) -> None:
        """Join without the other operations."""
        await self.join()
