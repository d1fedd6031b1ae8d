"""The guard of operations, without servers."""

from collections.abc import MutableMapping
from typing import Any, cast

import pytest
from starlette.requests import HTTPConnection, Request

from svgx_common.contract.errors import (
    DeadlineExceeded,
    Overloaded,
    SvgxError,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.policy import RateClass, Scope
from svgx_gateway.http.guard import Guard
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.identity.identity import Identity
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.ratelimit.limiter import RateLimiter


class FailingAuthenticator:
    """An authenticator that does not get an answer of auth."""

    def __init__(self, error: SvgxError) -> None:
        self._error = error

    async def authenticate_request(self, _: HTTPConnection) -> Identity:
        """Raise the error."""
        raise self._error


class Counter:
    """A limiter that counts requests."""

    def __init__(self) -> None:
        self.counted = 0

    async def admit(
        self, rate_class: RateClass, key: RateLimitKey, headers: MutableMapping[str, str]
    ) -> None:
        """Count one request."""
        self.counted += 1
        headers["RateLimit"] = f'"{rate_class}";r=1;t=1'


@pytest.mark.parametrize(
    "error", [Unauthenticated(), Unavailable(), DeadlineExceeded(), Overloaded()]
)
async def test_request_of_an_unknown_client_counts_against_the_limit(error: SvgxError) -> None:
    """Proves R-LIMIT-1 and R-LIMIT-3: it counts, too, while auth does not answer or has too much to do."""
    counter, headers = Counter(), dict[str, str]()
    guard = Guard(
        cast(Authenticator, FailingAuthenticator(error)),
        cast(CanvasRoles, None),
        cast(RateLimiter, counter),
        cast(QuotaEnforcement, None),
    )
    scope: dict[str, Any] = {"type": "http", "headers": [], "client": ("192.0.2.1", 1)}
    with pytest.raises(type(error)):
        await guard.admit_to(Scope.SIGNED_IN, RateClass.READ, Request(scope), headers)
    assert (counter.counted, "RateLimit" in headers) == (1, True)
