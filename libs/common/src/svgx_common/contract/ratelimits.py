"""Rate limits by class and role, the whitelist, and the counts of requests.

The gateways count requests. State stores the limits that differ from the gateways' settings, so that all gateways
share these limits, and a restart does not lose them.
"""

from datetime import datetime
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from svgx_common.contract.errors import Conflict, Invalid
from svgx_common.contract.operation import (
    Channel,
    Count,
    Http,
    Identifier,
    Operation,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import RateClass, Role, Scope

LimitedClass = Literal[RateClass.READ, RateClass.WRITE, RateClass.LOGIN, RateClass.HEAVY]
"""The classes that have a limit."""


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("must be an IP address or a network such as 10.0.0.0/8") from None


Network = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
"""An IP network in CIDR notation. A single address is a network too."""


class RateLimit(BaseModel):
    """At most `requests` in `seconds`. All may come in one burst; the allowance refills evenly over `seconds`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Annotated[int, Field(ge=1, le=10_000_000)]
    seconds: Annotated[int, Field(ge=1, le=86_400)] = 60


class Whitelist(BaseModel):
    """Callers without a limit: user ids and IP networks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Annotated[list[Identifier], Field(max_length=1000)] = []
    networks: Annotated[list[Network], Field(max_length=1000)] = []


ClassLimits = dict[LimitedClass, RateLimit]


class RateLimits(ReplyModel):
    """Limits by class, and exceptions by role.

    `version` counts the changes; 0 means that the gateways' own settings apply.
    """

    version: int = 0
    limits: ClassLimits = Field(default_factory=dict)
    roles: dict[Role, ClassLimits] = Field(default_factory=dict)
    whitelist: Whitelist = Whitelist()


class RateLimitsRequest(RequestModel):
    pass


class SetRateLimitsRequest(RequestModel):
    """New limits, which replace the stored limits. A class that is not named has the gateways' setting.

    With `version`, the change is refused when the stored limits have another version.
    """

    version: Count | None = None
    limits: Annotated[ClassLimits, Field(examples=[{"read": {"requests": 300, "seconds": 60}}])] = (
        Field(default_factory=dict)
    )
    roles: Annotated[
        dict[Role, ClassLimits],
        Field(examples=[{"admin": {"read": {"requests": 1000, "seconds": 60}}}]),
    ] = Field(default_factory=dict)
    whitelist: Annotated[Whitelist, Field(examples=[{"users": [], "networks": ["10.0.0.0/8"]}])] = (
        Whitelist()
    )


class AnalyticsRequest(RequestModel):
    """`minutes` is the period up to now; `top` is the largest number of callers in `top_hits` and in `top_denied`."""

    minutes: Annotated[int, Field(ge=1, le=1440, examples=[60])] = 60
    top: Annotated[int, Field(ge=1, le=100)] = 10


class ClassCount(ReplyModel):
    """`hits` counts all requests of a class; `denied` counts the refused ones among them."""

    rate_class: LimitedClass
    hits: int
    denied: int


class RateLimitInterval(ClassCount):
    """The counts of one interval. The interval begins at `at` and lasts for `Analytics.seconds` seconds."""

    at: datetime


class CallerCount(ReplyModel):
    """The requests of one caller. `caller` is `user:<id>` or `address:<address>`; an IPv6 address is its /64 network.

    Visitors with a share link count as `visitor:<address>` and as `link:<id>`.

    Requests that are counted separately have a prefix in `caller`: `handshakes:`, `metrics:`, or `keys:` for lookups of
    API keys and share links that a gateway has not cached.
    """

    caller: str
    rate_class: LimitedClass
    count: int


class Analytics(ReplyModel):
    """The counts of all gateways.

    Callers are counted in steps of ten minutes, so `top_hits` and `top_denied` may begin before `since`.
    """

    since: datetime
    until: datetime
    seconds: int
    """Length of one interval of `timeline`, in seconds."""
    classes: list[ClassCount]
    timeline: list[RateLimitInterval]
    top_hits: list[CallerCount]
    top_denied: list[CallerCount]


MAX_CONFIG_BYTES = 256 * 1024
"""Largest size of a configuration in bytes. The whitelist may have thousands of entries."""

# These operations have no limit, so that an admin can always correct limits that are too low.
GET_CONFIG = Operation(
    subject="svgx.gateway.rate_limits.get",
    summary="Get the rate limits in force, and the whitelist",
    request=RateLimitsRequest,
    reply=RateLimits,
    scope=Scope.ADMIN,
    http=Http("GET", "/security/rate-limits/config/"),
    rate=RateClass.UNLIMITED,
    asks="state",
    repeatable=True,
)
SET_CONFIG = Operation(
    subject="svgx.gateway.rate_limits.set",
    summary="Set rate limits and the whitelist, on all gateways at once",
    request=SetRateLimitsRequest,
    reply=RateLimits,
    scope=Scope.ADMIN,
    http=Http("PUT", "/security/rate-limits/config/"),
    rate=RateClass.UNLIMITED,
    max_body=MAX_CONFIG_BYTES,
    asks="state",
    errors=(Conflict, Invalid),
)
ANALYTICS = Operation(
    subject="svgx.gateway.rate_limits.analytics",
    summary="Get the counts of requests and refusals by class, by time and by caller",
    request=AnalyticsRequest,
    reply=Analytics,
    scope=Scope.ADMIN,
    http=Http("GET", "/security/rate-limits/analytics/"),
    rate=RateClass.UNLIMITED,
    repeatable=True,
    outside=True,
)
STORED = Operation(
    subject="svgx.state.rate_limits.get",
    summary="Get the stored rate limits, without the gateways' settings",
    request=RateLimitsRequest,
    reply=RateLimits,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    repeatable=True,
)
STORE = Operation(
    subject="svgx.state.rate_limits.set",
    summary="Store rate limits and tell all gateways",
    request=SetRateLimitsRequest,
    reply=RateLimits,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    max_body=MAX_CONFIG_BYTES,
    errors=(Conflict, Invalid),
)

RATE_LIMITS_CHANGED = Channel(
    subject="svgx.state.rate_limits.changed",
    summary="State's broadcast of the rate limits that apply from now on",
    publishers=("state",),
    subscribers=("gateway",),
    payload=RateLimits,
)
