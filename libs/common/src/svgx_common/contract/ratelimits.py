"""Rate limits: how many requests of a class somebody may make, who is exempt, and what has been counted.

The gateways count. What differs from their settings is kept by state, so that it survives and is one for all of them.
"""

from datetime import datetime
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from svgx_common.contract.errors import Conflict
from svgx_common.contract.operation import (
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
"""An IP network in CIDR notation; an address is a network of one."""


class RateLimit(BaseModel):
    """So many requests in so many seconds; they may come at once, and come back evenly over that time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Annotated[int, Field(ge=1, le=10_000_000)]
    seconds: Annotated[int, Field(ge=1, le=86_400)] = 60


class Whitelist(BaseModel):
    """Who is not limited: accounts by id, and addresses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Annotated[list[Identifier], Field(max_length=1000)] = []
    networks: Annotated[list[Network], Field(max_length=1000)] = []


ClassLimits = dict[LimitedClass, RateLimit]


class RateLimits(ReplyModel):
    """Limits by class, and what differs for a role. `version` counts the changes; 0 is the gateways' own settings."""

    version: int = 0
    limits: ClassLimits = Field(default_factory=dict)
    roles: dict[Role, ClassLimits] = Field(default_factory=dict)
    whitelist: Whitelist = Whitelist()


class RateLimitsRequest(RequestModel):
    pass


class SetRateLimitsRequest(RequestModel):
    """Replaces what was set before; a class that is not named has the gateways' setting.

    With `version`, only when nobody has changed anything since that version.
    """

    version: Count | None = None
    limits: ClassLimits = Field(default_factory=dict)
    roles: dict[Role, ClassLimits] = Field(default_factory=dict)
    whitelist: Whitelist = Whitelist()


class AnalyticsRequest(RequestModel):
    """The last `minutes`; `top` callers of each kind."""

    minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    top: Annotated[int, Field(ge=1, le=100)] = 10


class ClassCount(ReplyModel):
    """`hits` are the requests that were counted, `denied` those of them that were refused."""

    rate_class: LimitedClass
    hits: int
    denied: int


class RateLimitInterval(ClassCount):
    """What was counted in the `seconds` that begin at `at`."""

    at: datetime


class CallerCount(ReplyModel):
    """`caller` is `user:<id>` or `address:<address>` (of IPv6, the /64 network)."""

    caller: str
    rate_class: LimitedClass
    count: int


class Analytics(ReplyModel):
    """What all gateways have counted. Callers are kept in steps of ten minutes: `top_*` may reach further back."""

    since: datetime
    until: datetime
    seconds: int
    """Length of a moment of `timeline`, in seconds."""
    classes: list[ClassCount]
    timeline: list[RateLimitInterval]
    top_hits: list[CallerCount]
    top_denied: list[CallerCount]


# What repairs the limits must not be stopped by them, hence `RateClass.UNLIMITED`.
MAX_CONFIG = 256 * 1024
"""Bytes: there may be thousands on the whitelist."""

GET_CONFIG = Operation(
    subject="svgx.gateway.rate_limits.get",
    summary="The rate limits that are in force, and who is exempt",
    request=RateLimitsRequest,
    reply=RateLimits,
    scope=Scope.ADMIN,
    http=Http("GET", "/security/rate-limits/config/"),
    rate=RateClass.UNLIMITED,
)
SET_CONFIG = Operation(
    subject="svgx.gateway.rate_limits.set",
    summary="Set rate limits and the whitelist, on all gateways at once",
    request=SetRateLimitsRequest,
    reply=RateLimits,
    scope=Scope.ADMIN,
    http=Http("PUT", "/security/rate-limits/config/"),
    rate=RateClass.UNLIMITED,
    max_body=MAX_CONFIG,
    errors=(Conflict,),
)
ANALYTICS = Operation(
    subject="svgx.gateway.rate_limits.analytics",
    summary="Requests counted and refused, by class and time, and the callers with most of them",
    request=AnalyticsRequest,
    reply=Analytics,
    scope=Scope.ADMIN,
    http=Http("GET", "/security/rate-limits/analytics/"),
    rate=RateClass.UNLIMITED,
)
STORED = Operation(
    subject="svgx.state.rate_limits.get",
    summary="The rate limits that were set, without the gateways' settings",
    request=RateLimitsRequest,
    reply=RateLimits,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
)
STORE = Operation(
    subject="svgx.state.rate_limits.set",
    summary="Keep rate limits and tell all gateways",
    request=SetRateLimitsRequest,
    reply=RateLimits,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    max_body=MAX_CONFIG,
    errors=(Conflict,),
)
