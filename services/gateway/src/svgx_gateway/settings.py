"""Settings of the gateway."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import ClassLimits, RateLimit
from svgx_common.runtime import WebSocketOptions
from svgx_common.settings import RedisUrl, TokenSettings
from svgx_gateway.http.proxies import parse_networks
from svgx_gateway.memory.bodies import BodyLimits
from svgx_gateway.memory.outgoing import OutgoingLimits
from svgx_gateway.websocket import origins
from svgx_gateway.websocket.admission import REFUSED, SLOWED, SocketLimits
from svgx_gateway.websocket.transport.inflow import InflowLimits, LargeMessages
from svgx_gateway.websocket.transport.protocol import WebSocketLimits, limited


def _networks(text: str) -> str:
    parse_networks(text)
    return text


class GatewaySettings(TokenSettings):
    """The gateway's settings, read from environment variables and the configuration file."""

    metrics_port: int | None = Field(None, ge=1, le=65535)
    """The port that serves `/metrics` and `/metrics/prometheus`, without a rate limit.

    By default, `api_port` serves them.
    """
    jwt_secret: SecretStr = SecretStr("")
    """The secret with which auth signs tokens. Not needed when auth signs with keys (JWT_KEYS_FILE)."""
    cors_origins: Annotated[str, NoDecode, AfterValidator(origins.check)] = "*"
    """Origins of web pages that may call the API, separated by commas. `*` allows any origin, without credentials.

    In production, the default is empty, which allows only pages of the gateway's own host, and `*` must be set
    explicitly.
    """
    websocket_origins: Annotated[str, NoDecode, AfterValidator(origins.check)] = ""
    """Origins of web pages that may open a WebSocket. Empty means `cors_origins`."""
    access_log: bool = False
    """Log each request. Otherwise, only requests that fail with 5xx are logged."""
    hsts_seconds: int = Field(31_536_000, ge=0)
    """Time, in seconds, for which a browser that came over TLS uses TLS only. With 0, no HSTS header is sent."""
    idempotency_seconds: int = Field(86_400, ge=60, le=30 * 86_400)
    """Lifetime of the stored response to a request with an `Idempotency-Key`, in seconds."""
    shed_lag_seconds: float = Field(0.5, gt=0)
    """Limit of the event loop's lag, in seconds.

    Requests are refused while the last three checks found a longer lag.
    """
    trusted_proxies: Annotated[str, NoDecode, AfterValidator(_networks)] = ""
    """Addresses and networks of the proxies in front of the gateway, separated by commas.

    Only the `X-Forwarded-*` headers of these proxies are used.
    """
    redis_url: RedisUrl = "redis://localhost:6379/0"
    redis_pool_size: int = Field(32, ge=1, le=1000)
    """The largest number of connections in the pool for Redis. The rate limits have a connection of their own. Further
    commands wait up to a second for a free connection."""
    rate_limit_requests_per_minute: int = Field(100, ge=1, le=10_000_000)
    """Largest number of reads in a minute, for each account or, without an account, for each address. Writes have the
    same limit, and are counted separately."""
    rate_limit_login_requests_per_minute: int = Field(30, ge=1, le=10_000_000)
    """Largest number of log-ins and sign-ins at a provider in a minute for each address, and of password changes for
    each account."""
    rate_limit_heavy_requests_per_minute: int = Field(30, ge=1, le=10_000_000)
    """Largest number of operations of the class `heavy` in a minute: imports, exports, and others such as the restore
    of a version."""
    websocket_max_connections: int = Field(1000, ge=1)
    """Largest number of open WebSockets of this gateway. A further upgrade is refused with 503."""
    websocket_max_connections_per_identity: int = Field(100, ge=1)
    """Largest number of open WebSockets of one account at this gateway. A further one is closed with 1013."""
    websocket_max_frames_per_second: float = Field(500.0, gt=0)
    """Maximum rate of one connection, in frames a second.

    The burst allowance is twice this number of frames. Beyond it, the connection is read more slowly.
    """
    websocket_flood_seconds: float = Field(60.0, gt=0)
    """Longest time, in seconds, for which a connection may exceed the rate of frames.

    Beyond it, the connection is closed with 1013.
    """
    websocket_max_bytes_per_second: float = Field(2 * 1024 * 1024, gt=0)
    """Maximum rate of one connection, in bytes a second.

    The burst allowance is eight times this number of bytes. Beyond it, the connection is read more slowly.
    """
    websocket_handshake_timeout: float = Field(30.0, gt=0)
    """Time limit for the first message of a connection, in seconds. Beyond it, the connection is closed with 1013."""
    websocket_max_frame_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    """Largest size of a message, even of several frames, in bytes.

    A larger message closes the connection with 4413. The first sync of a document made offline is one message.
    """
    websocket_large_message_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024)
    """Limit of the memory for messages over 256 KiB that are arriving or being handled, in bytes. Further ones wait."""
    websocket_sync_seconds: float = Field(3.0, ge=0, le=60)
    """Minimum time from a large sync reply (64 KiB or more) to the connection's next sync, in seconds.

    A sync that comes too soon waits.
    """
    websocket_sync_bytes_per_second: float = Field(16 * 1024 * 1024, gt=0)
    """Maximum rate of one account's large sync replies, in bytes a second.

    The burst allowance is 16 times this number of bytes. Beyond it, the account's syncs wait.
    """
    websocket_account_queued_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024)
    """Limit of the bytes that wait for the clients of one account. Beyond it, the account's syncs wait. When a sync has
    waited for a minute, its connection is closed with 1013."""
    websocket_queued_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024)
    """Limit of the bytes that wait for all clients.

    Beyond it, syncs wait. If more than half of the limit is in use while a sync waits for memory, slow clients are
    closed with 1013.
    """
    http_account_body_bytes: int = Field(48 * 1024 * 1024, ge=1024 * 1024)
    """Limit of the memory for the bodies of one account's requests, in bytes. Beyond it, the account's bodies wait. A
    request that has waited for 30 seconds gets 503."""
    http_body_bytes: int = Field(192 * 1024 * 1024, ge=1024 * 1024)
    """Limit of the memory for the bodies of all requests, in bytes.

    Beyond it, bodies wait. A request that has waited for 30 seconds gets 503.
    """
    http_min_bytes_per_second: float = Field(8 * 1024, ge=0)
    """Minimum rate at which a body has to arrive, in bytes a second, measured over 10 seconds.

    A slower request gets 408. 0 switches the check off.
    """
    websocket_ping_interval: float = Field(30.0, gt=0)
    """Seconds between two pings to a client."""
    websocket_ping_timeout: float = Field(10.0, gt=0)
    """Time limit for a sign of life after a ping, in seconds: a client answers, or it sends or reads other bytes.

    Without one, the client is disconnected.
    """
    drain_notice_seconds: float = Field(0.0, ge=0, le=600)
    """Seconds from SIGTERM to the first closed WebSocket. The readiness check fails from SIGTERM on, and load balancers
    need this time to notice the failure."""
    websocket_drain_seconds: float = Field(2.0, ge=0, le=600)
    """Time, in seconds, over which a stopping gateway spreads the closing of its WebSockets."""

    @model_validator(mode="after")
    def _default_to_no_origins_in_production(self) -> Self:
        if self.in_production and "cors_origins" not in self.model_fields_set:
            self.cors_origins = ""
        return self

    @model_validator(mode="after")
    def _check_metrics_port(self) -> Self:
        if self.metrics_port == self.api_port:
            raise ValueError("METRICS_PORT must differ from API_PORT")
        return self

    @model_validator(mode="after")
    def _check_drain_seconds(self) -> Self:
        if self.drain_notice_seconds + self.websocket_drain_seconds > self.drain_seconds:
            raise ValueError(
                "DRAIN_SECONDS must be at least the sum of DRAIN_NOTICE_SECONDS and WEBSOCKET_DRAIN_SECONDS"
            )
        return self

    def socket_limits(self) -> SocketLimits:
        """Return the limits of the number of WebSockets, the time until the first message, and a message's size."""
        return SocketLimits(
            connections=self.websocket_max_connections,
            per_identity=self.websocket_max_connections_per_identity,
            first_message_seconds=self.websocket_handshake_timeout,
            max_message_bytes=self.websocket_max_frame_bytes,
        )

    def websocket_limits(self) -> WebSocketLimits:
        """Return the limits of the frames on each WebSocket."""
        return WebSocketLimits(
            max_bytes=self.websocket_max_frame_bytes,
            ping_interval=self.websocket_ping_interval,
            ping_timeout=self.websocket_ping_timeout,
            inflow=InflowLimits(
                frames=self.websocket_max_frames_per_second,
                bytes=self.websocket_max_bytes_per_second,
                burst_bytes=8 * self.websocket_max_bytes_per_second,
                flood_seconds=self.websocket_flood_seconds,
            ),
            large_messages=LargeMessages(self.websocket_large_message_bytes),
            on_slowed=SLOWED.inc,
            on_refused=REFUSED.labels("rate").inc,
        )

    def outgoing_limits(self) -> OutgoingLimits:
        """Return the limits of outgoing bytes."""
        return OutgoingLimits(
            sync_seconds=self.websocket_sync_seconds,
            account_rate=self.websocket_sync_bytes_per_second,
            account_burst=16 * self.websocket_sync_bytes_per_second,
            account_memory=self.websocket_account_queued_bytes,
            memory=self.websocket_queued_bytes,
        )

    def body_limits(self) -> BodyLimits:
        """Return the limits of request bodies."""
        return BodyLimits(
            account_bytes=self.http_account_body_bytes,
            bytes=self.http_body_bytes,
            min_rate=self.http_min_bytes_per_second,
        )

    def websocket_options(self) -> WebSocketOptions:
        """Return the server's WebSocket options: the protocol with the limits of these settings, and the pings."""
        return WebSocketOptions(
            protocol=limited(self.websocket_limits()),
            ping_interval=self.websocket_ping_interval,
            ping_timeout=self.websocket_ping_timeout,
        )

    def rate_limits(self) -> ClassLimits:
        """Return the limits that are in force until an admin sets others."""
        general = RateLimit(requests=self.rate_limit_requests_per_minute)
        return {
            RateClass.READ: general,
            RateClass.WRITE: general,
            RateClass.LOGIN: RateLimit(requests=self.rate_limit_login_requests_per_minute),
            RateClass.HEAVY: RateLimit(requests=self.rate_limit_heavy_requests_per_minute),
        }
