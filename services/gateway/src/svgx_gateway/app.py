"""The composition root: everything the gateway is made of is built here."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette_compress import CompressMiddleware, add_compress_type

from svgx_common import redis
from svgx_common.background import repeat
from svgx_common.contract.errors import (
    PROBLEM_MEDIA_TYPE,
    BadRequest,
    Internal,
    MethodNotAllowed,
    NotFound,
)
from svgx_common.redis import Redis
from svgx_common.runtime import Runtime, Service
from svgx_gateway.http import problems, proxies
from svgx_gateway.http.cors import Cors
from svgx_gateway.http.guard import Guard
from svgx_gateway.http.headers import SecurityHeaders
from svgx_gateway.http.idempotency import Idempotency
from svgx_gateway.http.routes import Operations
from svgx_gateway.http.shedding import Lag, Shedding
from svgx_gateway.http.summary import Summary
from svgx_gateway.http.tracing import Tracing
from svgx_gateway.identity.access import Access
from svgx_gateway.identity.api_keys import ApiKeys
from svgx_gateway.identity.identities import Identities
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.token_keys import TokenKeys
from svgx_gateway.openapi import document as openapi
from svgx_gateway.openapi.docs import Docs
from svgx_gateway.ratelimit.buckets import Buckets
from svgx_gateway.ratelimit.limiter import RateLimiter
from svgx_gateway.ratelimit.operations import RateLimitOperations
from svgx_gateway.ratelimit.statistics import RateLimitStatistics
from svgx_gateway.settings import GatewaySettings
from svgx_gateway.websocket import origins
from svgx_gateway.websocket.endpoint import YjsEndpoint
from svgx_gateway.websocket.live_canvases import LiveCanvases
from svgx_gateway.websocket.origins import AllowedOrigins

add_compress_type(PROBLEM_MEDIA_TYPE)


@contextlib.asynccontextmanager
async def build(runtime: Runtime[GatewaySettings]) -> AsyncIterator[Service]:
    """Wire the gateway."""
    client = redis.connect(runtime.settings.redis_url, runtime.settings.redis_pool_size)
    try:
        async with (
            _limiting(runtime, client) as limiter,
            _wired(runtime, limiter, client) as service,
        ):
            yield service
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def _limiting(runtime: Runtime[GatewaySettings], client: Redis) -> AsyncIterator[RateLimiter]:
    settings, bus = runtime.settings, runtime.bus
    async with contextlib.AsyncExitStack() as stack:
        buckets, tally = (
            Buckets(redis.open_unpooled(settings.redis_url)),
            RateLimitStatistics(client),
        )
        stack.push_async_callback(buckets.close)
        stack.push_async_callback(tally.deliver)
        limiter = RateLimiter(bus, buckets, tally, settings.rate_limits())
        await limiter.start()
        RateLimitOperations(bus, limiter, tally).register(runtime.responder)
        background = [
            asyncio.create_task(repeat("rate limits", limiter.keep_current)),
            asyncio.create_task(repeat("rate limit analytics", tally.keep_delivering)),
        ]
        try:
            yield limiter
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


@contextlib.asynccontextmanager
async def _wired(
    runtime: Runtime[GatewaySettings], limiter: RateLimiter, client: Redis
) -> AsyncIterator[Service]:
    settings, bus = runtime.settings, runtime.bus
    revocations = Revocations(bus)
    keys = TokenKeys(bus, settings.jwt_secret.get_secret_value())
    identities = Identities(keys, ApiKeys(bus, revocations), revocations, limiter.admit_stranger)
    access = Access(bus)
    live_canvases = LiveCanvases(bus, access)
    await access.start()
    revocations.on_revoked(functools.partial(live_canvases.close_revoked, revocations.revoked))
    await revocations.start()
    keys.start()
    runtime.health.require("revocations", revocations.ready)
    runtime.health.require("token_keys", keys.ready)
    runtime.health.describe("live", live_canvases.details)
    guard = Guard(identities, access, limiter)
    summary = Summary(bus, guard)
    sockets = YjsEndpoint(
        live_canvases,
        identities,
        access,
        AllowedOrigins(origins.split(settings.websocket_origins or settings.cors_origins)),
        settings.socket_limits(),
    )
    app = FastAPI(
        title="SVGX Engine",
        version=runtime.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        # Its spans would carry the query, and with it the tokens of WebSockets; `Tracing` has the root span.
        telemetry={"tracing": False, "metrics": False},
        exception_handlers={HTTPException: _http_problem, Exception: _internal},
        routes=[
            Route("/health/summary", summary.page),
            Route("/health/summary/", summary.page),
            WebSocketRoute("/runtime/events/{canvas_id}", sockets.serve),
        ],
    )
    lag = Lag(settings.shed_lag_seconds)
    layers: list[Callable[[ASGIApp], ASGIApp]] = [
        partial(proxies.look_through, trusted=proxies.networks(settings.trusted_proxies)),
        Tracing,
        partial(SecurityHeaders, hsts_seconds=settings.hsts_seconds),
        partial(Shedding, lag=lag),
        partial(Cors, allowed=origins.split(settings.cors_origins)),
        partial(Docs, document=openapi.document(runtime.version)),
        partial(CompressMiddleware, zstd_level=1, gzip_level=1, brotli=False),
        partial(
            Operations,
            bus=bus,
            guard=guard,
            idempotency=Idempotency(client, settings.idempotency_seconds),
        ),
    ]
    """What a request passes, outermost first, until something answers it."""

    async def before_drain() -> None:
        # Readiness has failed: whoever is sent away now must not be sent back by a balancer that has not looked since.
        await asyncio.sleep(settings.drain_notice_seconds)
        await live_canvases.drain(settings.websocket_drain_seconds)

    try:
        lag.start()
        yield Service(asgi=_wrapped(app, layers), before_drain=before_drain)
    finally:
        keys.stop()
        revocations.stop()
        lag.stop()
        await live_canvases.stop()


def _wrapped(app: ASGIApp, layers: Sequence[Callable[[ASGIApp], ASGIApp]]) -> ASGIApp:
    for layer in reversed(layers):
        app = layer(app)
    return app


async def _http_problem(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    match status:
        case 404:
            return problems.response(NotFound("no operation has this path"))
        case 405:
            response = problems.response(MethodNotAllowed())
            response.headers.update(getattr(error, "headers", None) or {})  # `Allow`
            return response
        case _:
            return problems.response(BadRequest())


async def _internal(_: Request, __: Exception) -> Response:
    """What nothing else has caught; it is logged by whoever called the application."""
    return problems.response(Internal())
