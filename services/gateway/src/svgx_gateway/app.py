"""The composition root of the gateway: every object is built and wired here."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette_compress import CompressMiddleware, add_compress_type

from svgx_common import metrics, redis
from svgx_common.background import BackgroundTasks
from svgx_common.contract import OPERATIONS
from svgx_common.contract.collab import EVENTS_PATH, HOCUSPOCUS_PATH
from svgx_common.contract.errors import PROBLEM_MEDIA_TYPE
from svgx_common.contract.live.json_messages import JSON_EVENTS_PATH
from svgx_common.messaging.bus import Bus
from svgx_common.redis import Redis
from svgx_common.runtime import Runtime, Service
from svgx_gateway.http import problems, proxies
from svgx_gateway.http.cors import Cors
from svgx_gateway.http.guard import AddressRateLimit, Guard
from svgx_gateway.http.headers import SecurityHeaders
from svgx_gateway.http.health_summary import HealthSummary
from svgx_gateway.http.idempotency import Idempotency
from svgx_gateway.http.operations import CLIENT_GONE, operation_routes
from svgx_gateway.http.routes import Application, RouteTable
from svgx_gateway.http.shedding import LoadShedding, LoopLag
from svgx_gateway.http.tracing import Tracing
from svgx_gateway.identity.api_keys import ApiKeys
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.share_links import ShareLinks
from svgx_gateway.identity.token_keys import TokenKeys
from svgx_gateway.live_connections import LiveConnections
from svgx_gateway.memory.bodies import Bodies
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.observability.request_log import RequestLog
from svgx_gateway.observability.socket_log import SocketLog
from svgx_gateway.openapi import document as openapi
from svgx_gateway.openapi.docs import docs_routes
from svgx_gateway.openapi.responses import errors_of
from svgx_gateway.quota_notices import QuotaNotices
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.quotas.watch import QuotaWatch
from svgx_gateway.ratelimit.buckets import Buckets
from svgx_gateway.ratelimit.limiter import RateLimiter
from svgx_gateway.ratelimit.operations import RateLimitOperations
from svgx_gateway.ratelimit.statistics import RateLimitStatistics
from svgx_gateway.replica_drain import ReplicaDrain
from svgx_gateway.replica_watch import ReplicaWatch
from svgx_gateway.role_rounds import RoleRounds
from svgx_gateway.settings import GatewaySettings
from svgx_gateway.websocket import origins
from svgx_gateway.websocket.admission import Admission
from svgx_gateway.websocket.endpoint import YjsEndpoint
from svgx_gateway.websocket.hocuspocus.endpoint import HocuspocusEndpoint
from svgx_gateway.websocket.json_clients.endpoint import JsonEndpoint
from svgx_gateway.websocket.live_canvases import LiveCanvases
from svgx_gateway.websocket.origins import AllowedOrigins
from svgx_gateway.websocket.sessions.session import Sessions

add_compress_type(PROBLEM_MEDIA_TYPE)

_COMPRESSION = (Middleware(CompressMiddleware, zstd_level=1, gzip_level=1, brotli=False),)


@contextlib.asynccontextmanager
async def build(runtime: Runtime[GatewaySettings]) -> AsyncIterator[Service]:
    """Build the gateway. When the block ends, stop its parts in the reverse order of their start."""
    settings, bus = runtime.settings, runtime.bus
    _expect_outcomes()
    async with contextlib.AsyncExitStack() as stack:
        client = redis.connect(settings.redis_url, settings.redis_pool_size)
        stack.push_async_callback(client.aclose)
        limiter = await stack.enter_async_context(_rate_limiter(runtime, client))
        revocations = Revocations(bus)
        keys = TokenKeys(
            bus,
            settings.jwt_secret.get_secret_value(),
            settings.jwt_other_secret.get_secret_value(),
        )
        authenticator = Authenticator(
            keys,
            ApiKeys(bus, revocations),
            ShareLinks(bus),
            revocations,
            limiter.admit_lookup,
        )
        canvas_roles, live_canvases = await stack.enter_async_context(_live_canvases(bus))
        revocations.on_revoked(functools.partial(live_canvases.close_revoked, revocations.reason))
        stack.push_async_callback(revocations.stop)
        await revocations.start()
        stack.push_async_callback(keys.stop)
        await keys.start()
        runtime.health.require("revocations", revocations.ready)
        runtime.health.require("token_keys", keys.ready)
        runtime.health.watch("redis", functools.partial(redis.check, client))
        runtime.health.describe("live", live_canvases.details)
        lag = LoopLag(settings.shed_lag_seconds)
        runtime.lag_checks.on_check(lag.record)
        replica_watch = ReplicaWatch(bus)
        stack.push_async_callback(replica_watch.stop)
        await replica_watch.start()
        ReplicaDrain(bus, replica_watch, client).register(runtime.responder)
        live_connections = LiveConnections(bus, live_canvases, replica_watch)
        live_connections.register(runtime.responder)
        await live_connections.start()
        quotas = await stack.enter_async_context(_quotas(bus, live_canvases))
        guard = Guard(authenticator, canvas_roles, limiter, quotas)
        with_metrics = settings.prometheus_enabled and settings.metrics_port is None
        document = openapi.document(runtime.version, with_metrics=with_metrics)
        idempotency = Idempotency(client, settings.idempotency_seconds)
        http_routes = [
            *operation_routes(
                bus, guard, idempotency, _COMPRESSION, Bodies(settings.body_limits())
            ),
            *HealthSummary(bus, guard, runtime.health, replica_watch).routes(_COMPRESSION),
            *docs_routes(document, [Middleware(AddressRateLimit, count=limiter.admit_page)]),
        ]
        outgoing = Outgoing(settings.outgoing_limits())
        sessions = Sessions(live_canvases, authenticator, canvas_roles, quotas, outgoing)
        app = Application(
            title="SVGX Engine",
            version=runtime.version,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            redirect_slashes=False,
            # FastAPI's spans would contain the query, and with it tokens of WebSockets. `Tracing` makes the root span.
            telemetry={"tracing": False, "metrics": False},
            exception_handlers={
                HTTPException: problems.handle_http_exception,
                Exception: problems.handle_exception,
            },
            routes=[RouteTable(http_routes, _websocket_routes(settings, sessions, limiter, bus))],
            middleware=_middleware(settings, lag),
        )
        app.openapi = lambda: document  # type: ignore[method-assign]  # the hook that FastAPI documents

        async def before_drain() -> None:
            # The readiness check fails by now. Wait until load balancers have noticed the failure, because a client
            # that is disconnected earlier could reconnect to this gateway.
            await asyncio.sleep(settings.drain_notice_seconds)
            await live_canvases.drain(settings.websocket_drain_seconds)

        def limit_metrics(pages: ASGIApp) -> ASGIApp:
            limited = AddressRateLimit(pages, limiter.admit_scrape)
            secured = SecurityHeaders(limited, settings.hsts_seconds)
            return proxies.trust_proxies(secured, proxies.parse_networks(settings.trusted_proxies))

        yield Service(asgi=app, limit_metrics=limit_metrics, before_drain=before_drain)


def _expect_outcomes() -> None:
    """Create a time series for each outcome of each operation: those in the OpenAPI document, and `CLIENT_GONE`."""
    for operation in OPERATIONS:
        if operation.http is not None:
            errors = errors_of(operation, operation.http)
            codes = ["ok", CLIENT_GONE, *(error.code for error in errors)]
            metrics.expect("gateway", operation.name, codes)


@contextlib.asynccontextmanager
async def _rate_limiter(
    runtime: Runtime[GatewaySettings], client: Redis
) -> AsyncIterator[RateLimiter]:
    settings, bus = runtime.settings, runtime.bus
    async with contextlib.AsyncExitStack() as stack:
        buckets = Buckets(redis.unpooled_connection(settings.redis_url))
        stack.push_async_callback(buckets.close)
        statistics = RateLimitStatistics(client)
        stack.push_async_callback(statistics.deliver)
        limiter = RateLimiter(bus, buckets, statistics, settings.rate_limits())
        stack.push_async_callback(limiter.stop)
        await limiter.start()
        RateLimitOperations(bus, limiter, statistics).register(runtime.responder)
        tasks = BackgroundTasks()
        stack.push_async_callback(tasks.stop)
        tasks.repeat("deliver rate-limit statistics", statistics.wait_and_deliver)
        yield limiter


@contextlib.asynccontextmanager
async def _live_canvases(bus: Bus) -> AsyncIterator[tuple[CanvasRoles, LiveCanvases]]:
    canvas_roles = CanvasRoles(bus)
    live_canvases = LiveCanvases(bus, canvas_roles)
    role_rounds = RoleRounds(live_canvases, canvas_roles)
    try:
        await canvas_roles.start()
        role_rounds.start()
        yield canvas_roles, live_canvases
    finally:
        await role_rounds.stop()
        await live_canvases.stop()


@contextlib.asynccontextmanager
async def _quotas(bus: Bus, live_canvases: LiveCanvases) -> AsyncIterator[QuotaEnforcement]:
    watch = QuotaWatch(bus)
    quotas = QuotaEnforcement(watch)
    notices = QuotaNotices(watch, quotas, live_canvases)
    await watch.start()
    try:
        yield quotas
    finally:
        await watch.stop()
        await notices.stop()


def _websocket_routes(
    settings: GatewaySettings, sessions: Sessions, limiter: RateLimiter, bus: Bus
) -> list[WebSocketRoute]:
    allowed = AllowedOrigins(origins.split(settings.websocket_origins or settings.cors_origins))
    checks = sessions, allowed, Admission(settings.socket_limits())
    count = limiter.admit_handshake
    return [
        WebSocketRoute(EVENTS_PATH, YjsEndpoint(*checks, count_handshake=count).serve),
        WebSocketRoute(
            JSON_EVENTS_PATH, JsonEndpoint(*checks, bus=bus, count_handshake=count).serve
        ),
        WebSocketRoute(HOCUSPOCUS_PATH, HocuspocusEndpoint(*checks, count_handshake=count).serve),
    ]


def _middleware(settings: GatewaySettings, lag: LoopLag) -> list[Middleware]:
    """Return the middleware of the application, the outermost first."""
    return [
        Middleware(proxies.trust_proxies, trusted=proxies.parse_networks(settings.trusted_proxies)),
        Middleware(Tracing),
        Middleware(RequestLog, every_request=settings.access_log),
        Middleware(SocketLog),
        Middleware(SecurityHeaders, hsts_seconds=settings.hsts_seconds),
        # Each middleware that answers by itself is within `Cors`, so that pages can read its responses.
        Middleware(Cors, allowed=origins.split(settings.cors_origins)),
        Middleware(LoadShedding, lag=lag),
    ]
