"""Settings of the gateway."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from svgx_common.contract.policy import RateClass
from svgx_common.contract.ratelimits import ClassLimits, RateLimit
from svgx_common.runtime import WebSocketOptions
from svgx_common.settings import TokenSettings
from svgx_gateway.http.proxies import parse_networks
from svgx_gateway.websocket.admission import REFUSED, SocketLimits
from svgx_gateway.websocket.protocol import WebSocketLimits, limited


def _networks(text: str) -> str:
    parse_networks(text)
    return text


class GatewaySettings(TokenSettings):
    """Environment variables, with their defaults."""

    jwt_secret: SecretStr = SecretStr("")
    """Checks tokens that auth signs with it. Better not here once auth signs with keys (JWT_KEYS_FILE)."""
    cors_origins: Annotated[str, NoDecode] = "*"
    """Origins that may call from a browser, separated by commas; `*` is any, without credentials.

    In production `*` must be said: without a word no page but the host's own may.
    """
    websocket_origins: Annotated[str, NoDecode] = ""
    """Origins whose pages may open a WebSocket; empty is `cors_origins`."""
    hsts_seconds: int = Field(31_536_000, ge=0)
    """For how long browsers that came over TLS come back over TLS only; 0 says nothing of it."""
    idempotency_seconds: int = Field(86_400, ge=60, le=30 * 86_400)
    """How long the answer of a request with an `Idempotency-Key` is kept."""
    shed_lag_seconds: float = Field(0.5, gt=0)
    """Requests are refused while the event loop is later than this again and again."""
    trusted_proxies: Annotated[str, NoDecode, AfterValidator(_networks)] = ""
    """Addresses and networks of the proxies in front, separated by commas: their `X-Forwarded-*` headers count."""
    redis_url: str = "redis://localhost:6379/0"
    redis_pool_size: int = Field(32, ge=1, le=1000)
    """Connections to Redis; what comes on top waits for one."""
    rate_limit_requests_per_minute: int = Field(100, ge=1, le=10_000_000)
    """Of each class, for each account or, without one, address."""
    rate_limit_login_requests_per_minute: int = Field(30, ge=1, le=10_000_000)
    """Signing in and refreshing, for each address."""
    rate_limit_heavy_requests_per_minute: int = Field(30, ge=1, le=10_000_000)
    """Imports, exports and renders."""
    websocket_max_connections: int = Field(1000, ge=1)
    """Connections of this gateway."""
    websocket_max_connections_per_identity: int = Field(100, ge=1)
    """Connections of one account to this gateway."""
    websocket_max_frames_per_second: float = Field(200.0, gt=0)
    """Of one connection; twice as many at once."""
    websocket_max_bytes_per_second: float = Field(2 * 1024 * 1024, gt=0)
    """Of one connection; as many at once as the largest frame has, if that is more."""
    websocket_handshake_timeout: float = Field(10.0, gt=0)
    """Seconds a connection may say nothing at first."""
    websocket_max_frame_bytes: int = Field(16 * 1024 * 1024, ge=1024)
    websocket_ping_interval: float = Field(30.0, gt=0)
    websocket_ping_timeout: float = Field(10.0, gt=0)
    drain_notice_seconds: float = Field(0.0, ge=0, le=600)
    """So long a stopping gateway is not ready before it closes a socket: load balancers have to notice."""
    websocket_drain_seconds: float = Field(2.0, ge=0, le=600)
    """A stopping gateway closes its sockets spread over this time."""

    @model_validator(mode="after")
    def _said_in_production(self) -> Self:
        if self.in_production and "cors_origins" not in self.model_fields_set:
            self.cors_origins = ""
        return self

    def socket_limits(self) -> SocketLimits:
        """How many WebSockets there may be, and whose."""
        return SocketLimits(
            connections=self.websocket_max_connections,
            per_identity=self.websocket_max_connections_per_identity,
            handshake=self.websocket_handshake_timeout,
        )

    def websocket_limits(self) -> WebSocketLimits:
        """The limits of what comes over each of them."""
        return WebSocketLimits(
            max_bytes=self.websocket_max_frame_bytes,
            ping_interval=self.websocket_ping_interval,
            ping_timeout=self.websocket_ping_timeout,
            frames=self.websocket_max_frames_per_second,
            bytes=self.websocket_max_bytes_per_second,
            burst_bytes=max(
                self.websocket_max_frame_bytes, 2 * self.websocket_max_bytes_per_second
            ),
            refused=REFUSED.labels("rate").inc,
        )

    def websocket_options(self) -> WebSocketOptions:
        """Return the WebSocket protocol with these limits, as the runtime takes it."""
        return WebSocketOptions(
            protocol=limited(self.websocket_limits()),
            ping_interval=self.websocket_ping_interval,
            ping_timeout=self.websocket_ping_timeout,
        )

    def rate_limits(self) -> ClassLimits:
        """The limits that hold until an admin sets others."""
        general = RateLimit(requests=self.rate_limit_requests_per_minute)
        return {
            RateClass.READ: general,
            RateClass.WRITE: general,
            RateClass.LOGIN: RateLimit(requests=self.rate_limit_login_requests_per_minute),
            RateClass.HEAVY: RateLimit(requests=self.rate_limit_heavy_requests_per_minute),
        }

    @model_validator(mode="after")
    def _drains_in_time(self) -> Self:
        if self.drain_notice_seconds + self.websocket_drain_seconds > self.drain_seconds:
            raise ValueError(
                "DRAIN_SECONDS must be no less than DRAIN_NOTICE_SECONDS and WEBSOCKET_DRAIN_SECONDS together"
            )
        return self
