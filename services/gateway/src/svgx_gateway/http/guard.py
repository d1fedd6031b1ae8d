"""The checks before a request is forwarded: identity, scope, rate limit, role on the canvas, quotas."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    Forbidden,
    NotFound,
    SvgxError,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.operation import Operation, RequestModel
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.messaging.caller import Caller
from svgx_gateway.http import problems
from svgx_gateway.identity.authenticator import Authenticator
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.observability.notes import note_user
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.ratelimit.limiter import Counting, RateLimiter

_LINK_ERROR = "svgx.link_error"
"""The key in the ASGI scope of a request for the error that the look-up of the share link raised."""


class Guard:
    """Checks a request against the contract's declaration of its operation."""

    def __init__(
        self,
        authenticator: Authenticator,
        canvas_roles: CanvasRoles,
        limiter: RateLimiter,
        quotas: QuotaEnforcement,
    ) -> None:
        self._quotas = quotas
        self._authenticator = authenticator
        self._canvas_roles = canvas_roles
        self._limiter = limiter

    async def admit(
        self, operation: Operation[Any, Any], request: Request, headers: MutableMapping[str, str]
    ) -> Caller | None:
        """Return the caller of an operation, or None for a public operation. Raises the errors of `admit_to`.

        A visitor is admitted if the operation admits share links.
        """
        return await self.admit_to(
            operation.scope,
            operation.rate,
            request,
            headers,
            with_visitors=operation.admits_links,
        )

    async def admit_to(
        self,
        scope: Scope,
        rate: RateClass,
        request: Request,
        headers: MutableMapping[str, str],
        *,
        with_visitors: bool = False,
    ) -> Caller | None:
        """Return the caller, or None when `scope` is public. Add the rate-limit headers to `headers`.

        A visitor with a share link is admitted only with `with_visitors`.

        Raise `Unauthenticated`, `Forbidden` or `TooManyRequests`. Raise `Unavailable` while the revocations are
        unknown, and the errors of the call when another service has to be asked.

        A request without a valid token or a sufficient role also counts against the rate limit. Without a valid token,
        the client's address is the rate-limit key.
        """
        caller, refusal = await self._identify(scope, request, with_visitors=with_visitors)
        await self._count(rate, request, caller, refusal, headers)
        return caller

    async def admit_read(
        self, operation: Operation[Any, Any], request: Request, headers: MutableMapping[str, str]
    ) -> tuple[Caller | None, Counting | None]:
        """Return the caller as `admit` does, and, if the request is still being counted, the argument of `finish_read`.

        The endpoint must await `finish_read` before it answers the request.
        """
        caller, refusal = await self._identify(
            operation.scope, request, with_visitors=operation.admits_links
        )
        if refusal is None:
            counting = self._limiter.begin(operation.rate, RateLimitKey.of(request, caller))
            if counting is not None:
                self._add_quotas(caller, headers)
                return caller, counting
        await self._count(operation.rate, request, caller, refusal, headers)
        return caller, None

    async def finish_read(self, counting: Counting, headers: MutableMapping[str, str]) -> None:
        """Wait until the request is counted, and add the rate-limit headers. Raise `TooManyRequests`."""
        await self._limiter.finish(counting, headers)

    async def _identify(
        self, scope: Scope, request: Request, *, with_visitors: bool
    ) -> tuple[Caller | None, SvgxError | None]:
        """Return the caller if the client is known, and the error to raise once the request is counted."""
        if scope is Scope.PUBLIC:
            return None, None
        try:
            identity = await self._authenticator.authenticate_request(request)
        except (Unauthenticated, *TEMPORARY_ERRORS) as error:
            # Auth may not answer the question about a token, which may be invented.
            return None, error
        caller = identity.caller
        if identity.link_error is not None:
            request.scope[_LINK_ERROR] = identity.link_error
        note_user(request.scope, caller.user_id)
        if caller.is_visitor and not with_visitors:
            return caller, Forbidden("a share link does not allow this; log in")
        if not scope.admits(caller.role):
            return caller, Forbidden(f"the role {caller.role} does not allow this")
        return caller, None

    async def _count(
        self,
        rate: RateClass,
        request: Request,
        caller: Caller | None,
        refusal: SvgxError | None,
        headers: MutableMapping[str, str],
    ) -> None:
        """Count a request, and then raise `refusal`, if there is one. Add the headers of the limits."""
        if refusal is not None and rate is RateClass.UNLIMITED:
            rate = RateClass.READ  # refused requests are always limited
        await self._limiter.admit(rate, RateLimitKey.of(request, caller), headers)
        if refusal is not None:
            raise refusal
        self._add_quotas(caller, headers)

    def _add_quotas(
        self,
        caller: Caller | None,
        headers: MutableMapping[str, str],
        canvas_id: str | None = None,
    ) -> None:
        if caller is not None:
            headers.update(self._quotas.headers(caller, canvas_id))

    async def check_canvas(
        self,
        operation: Operation[Any, Any],
        message: RequestModel,
        caller: Caller | None,
        request: Request,
        headers: MutableMapping[str, str],
    ) -> None:
        """Raise `NotFound` or `Forbidden` unless the caller has the operation's role on the request's canvas.

        A caller with the role gets the header about the quotas of its account and of the canvas.

        If the caller has a share link that could not be looked up, raise the error of the look-up instead, because the
        share link may give the role.
        """
        if operation.canvas_role is None or caller is None:
            return
        try:
            await self._canvas_roles.require(caller, _canvas_id(message), operation.canvas_role)
        except (NotFound, Forbidden) as error:
            raise request.scope.get(_LINK_ERROR, error) from None
        self._add_quotas(caller, headers, _canvas_id(message))

    def check_quota(
        self, operation: Operation[Any, Any], message: RequestModel, caller: Caller | None
    ) -> None:
        """Raise `QuotaExceeded` or `QuotaFull` if the operation adds content that a quota does not allow."""
        if operation.writes_content and message.adds_content and caller is not None:
            self._quotas.require_space(caller, _canvas_id(message))


def _canvas_id(message: RequestModel) -> str:
    canvas_id: str = getattr(message, "canvas_id")  # noqa: B009  # a test checks that these requests have the field
    return canvas_id


Count = Callable[[HTTPConnection, MutableMapping[str, str]], Awaitable[None]]
"""A function that counts a request against the client's address and adds the rate-limit headers to the mapping.

It raises `TooManyRequests` if the request exceeds the limit.
"""


class AddressRateLimit:
    """ASGI middleware for paths outside the contract: the docs pages and the metrics.

    It counts each HTTP request against the client's address, and refuses requests past the limit with 429.
    """

    def __init__(self, app: ASGIApp, count: Count) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Count the request, then answer it with the rate-limit headers."""
        headers: dict[str, str] = {}
        app = self._app
        try:
            await self._count(HTTPConnection(scope), headers)
        except TooManyRequests as error:
            app = problems.response(error)
        added = Headers(headers).raw

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await app(scope, receive, send_with_headers)
