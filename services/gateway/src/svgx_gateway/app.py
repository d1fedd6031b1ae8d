"""The composition root: everything the gateway is made of is built here."""

import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from svgx_common.contract.errors import BadRequest, MethodNotAllowed, NotFound
from svgx_common.runtime import Runtime, Service
from svgx_gateway import openapi, problems, routes
from svgx_gateway.access import Access
from svgx_gateway.api_keys import ApiKeys
from svgx_gateway.guard import Guard
from svgx_gateway.identity import Identities
from svgx_gateway.live.endpoint import YjsEndpoint
from svgx_gateway.live.hub import Hub
from svgx_gateway.revocations import Revocations
from svgx_gateway.settings import GatewaySettings
from svgx_gateway.summary import Summary
from svgx_gateway.token_keys import TokenKeys
from svgx_gateway.tracing import Tracing


@contextlib.asynccontextmanager
async def build(runtime: Runtime[GatewaySettings]) -> AsyncIterator[Service]:
    """Wire the gateway."""
    settings, bus = runtime.settings, runtime.bus
    revocations = Revocations(bus)
    keys = TokenKeys(bus, settings.jwt_secret.get_secret_value())
    identities = Identities(keys, ApiKeys(bus, revocations), revocations)
    access = Access(bus)
    hub = Hub(bus, access)
    await access.start()
    revocations.on_revoked(functools.partial(hub.close_revoked, revocations.revoked))
    await revocations.start()
    keys.start()
    runtime.health.require("revocations", revocations.ready)
    runtime.health.require("token_keys", keys.ready)
    runtime.health.describe("live", hub.details)
    summary = Summary(bus, identities)
    document = openapi.document(runtime.version)
    app = FastAPI(
        title="SVGX Engine",
        version=runtime.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # Its spans would carry the query, and with it the tokens of WebSockets; `Tracing` has the root span.
        telemetry={"tracing": False, "metrics": False},
        exception_handlers={HTTPException: _http_problem},
        routes=[
            *routes.build(bus, Guard(identities, access)),
            Route("/health/summary", summary.page),
            Route("/health/summary/", summary.page),
            Route("/openapi.json", _page(document)),
            WebSocketRoute(
                "/runtime/events/{canvas_id}", YjsEndpoint(hub, identities, access).serve
            ),
        ],
    )
    _allow_origins(app, settings.cors_origins)

    async def before_drain() -> None:
        await hub.drain(settings.websocket_drain_seconds)

    try:
        yield Service(asgi=Tracing(app), before_drain=before_drain)
    finally:
        keys.stop()
        revocations.stop()
        await hub.stop()


def _allow_origins(app: FastAPI, origins: str) -> None:
    """`*` never comes together with credentials; tokens travel in a header, so none are needed."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin.strip() for origin in origins.split(",") if origin.strip()],
        allow_methods=["*"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "traceparent"],
        expose_headers=["traceresponse", "Retry-After"],
        allow_credentials=False,
    )


def _page(content: dict[str, Any]) -> Any:
    async def page(_: Request) -> Response:
        return JSONResponse(content)

    return page


async def _http_problem(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    match status:
        case 404:
            return problems.response(NotFound("no operation has this path"))
        case 405:
            return problems.response(MethodNotAllowed())
        case _:
            return problems.response(BadRequest())
