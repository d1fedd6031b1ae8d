"""What a request must pass before it reaches a service: identity, scope, rate limit, role on the canvas."""

from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request

from svgx_common.contract.errors import Forbidden, SvgxError, Unauthenticated
from svgx_common.contract.operation import Operation, RequestModel
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.access import Access
from svgx_gateway.identity.identities import Identities
from svgx_gateway.ratelimit.key import rate_limit_key
from svgx_gateway.ratelimit.limiter import RateLimiter


class Guard:
    """Decides by what the contract says of the operation."""

    def __init__(self, identities: Identities, access: Access, limiter: RateLimiter) -> None:
        self._identities = identities
        self._access = access
        self._limiter = limiter

    async def admit(
        self, operation: Operation[Any, Any], request: Request, headers: MutableMapping[str, str]
    ) -> Caller | None:
        """Who calls; None for public operations. Raises as `admit_to` does."""
        return await self.admit_to(operation.scope, operation.rate, request, headers)

    async def admit_to(
        self, scope: Scope, rate: RateClass, request: Request, headers: MutableMapping[str, str]
    ) -> Caller | None:
        """Who calls; None where anybody may. `headers` gets what the answer must say of the rate limit.

        Raises `Unauthenticated`, `Forbidden` or `TooManyRequests`. What is refused counts too: against the address,
        as long as nobody is known.
        """
        caller: Caller | None = None
        refused: SvgxError | None = None
        if scope is not Scope.PUBLIC:
            try:
                caller = (await self._identities.of_request(request)).caller
            except Unauthenticated as error:
                refused = error
            else:
                if not scope.admits(caller.role):
                    refused = Forbidden(f"the role {caller.role} does not allow this")
        if refused is not None and rate is RateClass.UNLIMITED:
            rate = RateClass.READ  # unlimited is for those who may
        await self._limiter.admit(rate, rate_limit_key(request, caller), headers)
        if refused is not None:
            raise refused
        return caller

    async def check_canvas(
        self, operation: Operation[Any, Any], message: RequestModel, caller: Caller | None
    ) -> None:
        """The caller's role on the canvas the request names. Raises `NotFound` or `Forbidden`."""
        if operation.canvas_role is not None and caller is not None:
            canvas_id = getattr(message, "canvas_id")  # noqa: B009  # every such request has one (a test says so)
            await self._access.require(caller, canvas_id, operation.canvas_role)
