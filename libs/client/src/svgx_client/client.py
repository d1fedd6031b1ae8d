"""The client: it calls operations of the contract over HTTP, with retries and pages."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx2
from pydantic import ValidationError

from svgx_client import wire
from svgx_client.credentials import Credentials, FixedCredentials, Session
from svgx_client.errors import (
    ClientError,
    ConnectionFailed,
    UnexpectedAnswer,
    connection_failed,
    error_of,
)
from svgx_common.contract.auth import LoginRequest
from svgx_common.contract.errors import Overloaded, SvgxError, Unauthenticated, from_validation
from svgx_common.contract.operation import Operation, Reply, Request, RequestModel
from svgx_common.contract.policy import Scope

RETRY_SECONDS = 30.0
"""Seconds for which a call waits and tries again by default, when the server asks for it with `Retry-After`."""

_RESEND_AFTER_SECONDS = 0.5
"""Seconds between a request without an answer and its repetition. A load balancer finds another gateway meanwhile."""

_SHORTEST_PAUSE_SECONDS = 0.5
"""Shortest pause before a retry, because a proxy may ask for a pause of 0 s."""

_CONNECT_SECONDS = 10.0

_MARGIN_SECONDS = 5.0
"""Seconds from an operation's time limit until the client stops waiting. The gateway's own answer comes before."""

_LOGOUT_SECONDS = 5.0

Item = TypeVar("Item")
_Item_co = TypeVar("_Item_co", covariant=True)
_Request_co = TypeVar("_Request_co", bound=RequestModel, covariant=True)


class Page(Protocol[_Item_co]):
    """A page of a list. Most pages also have `next`, the cursor of the next page."""

    @property
    def items(self) -> Sequence[_Item_co]:
        """The items of the page."""


class ListOperation(Protocol[_Request_co, _Item_co]):
    """An operation with pages as its replies."""

    @property
    def request(self) -> type[_Request_co]:
        """The request model."""

    @property
    def reply(self) -> type[Page[_Item_co]]:
        """The reply model."""


class Client:
    """A client of one SVGX Engine. Use it with `async with`, or call `close` at the end.

    Its credentials are an access token, an API key, or a username (or e-mail address) and a password. `link` is the
    token of a share link, alone or in addition to them. With a username and a password, the client logs in before the
    first call, renews its tokens, and logs out at its end.

    A refused call with `Retry-After` is tried again for `retry_seconds`. `transport`, `clock` (seconds)
    and `sleep` are for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        api_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
        link: str | None = None,
        retry_seconds: float = RETRY_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Create the client. Raise `ValueError` for a wrong URL or contradicting credentials. Send no request yet."""
        self.url = _checked_url(url)
        self._credentials = _credentials(
            token=token,
            api_key=api_key,
            username=username,
            password=password,
            link=link,
            clock=clock,
        )
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._sleep = sleep
        self._http = httpx2.AsyncClient(transport=transport)

    def __repr__(self) -> str:
        """Return the URL, and no credentials."""
        return f"Client({self.url!r})"

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """End the session that the client has opened, if any, and close the connections."""
        try:
            # The session may have ended already, and the server may have stopped.
            with contextlib.suppress(SvgxError, ClientError, TimeoutError):
                async with asyncio.timeout(_LOGOUT_SECONDS):
                    await self._credentials.end(self._call_once)
        finally:
            await self._http.aclose()

    async def call(
        self,
        operation: Operation[Request, Reply],
        request: Request,
        *,
        idempotency_key: str | None = None,
    ) -> Reply:
        """Call an operation, and return its reply.

        Raise the contract's error for a refusal, such as `NotFound`. Raise `ConnectionFailed` without an answer, and
        `UnexpectedAnswer` for an answer that is not from a gateway. Raise `ValueError` for an operation without an HTTP
        form.

        A POST has an `Idempotency-Key`, by default a random one: the server executes two requests with the same key
        once. Give a key to repeat a call in a later run of a program.
        """
        message = wire.message_of(operation, request)
        if operation.supports_idempotency_key:
            message.headers["Idempotency-Key"] = idempotency_key or secrets.token_urlsafe(16)
        response = await self._send_with_retries(operation, message)
        return wire.reply_of(operation, response)

    async def items(
        self, operation: ListOperation[Request, Item], request: Request
    ) -> AsyncIterator[Item]:
        """Yield the items of all pages of a list, from the request's page on."""
        assert isinstance(operation, Operation)
        while True:
            page: Any = await self.call(operation, request)
            for item in page.items:
                yield item
            cursor = getattr(page, "next", None)
            if cursor is None:
                return
            request = request.model_copy(update={"cursor": cursor})

    async def _call_once(self, operation: Operation[Request, Reply], request: Request) -> Reply:
        """Call an operation with the present credentials, without any repetition."""
        message = wire.message_of(operation, request)
        headers = await self._credentials.headers(self.call)
        response = await self._send(operation, message, headers)
        error = error_of(response)
        if error is not None:
            raise error
        return wire.reply_of(operation, response)

    async def _send_with_retries(
        self, operation: Operation[Any, Any], message: wire.Message
    ) -> httpx2.Response:
        """Return a response without an error. Raise the error of the last response.

        A refused access token is renewed once. A request without an answer is sent again once, if the repetition
        changes nothing.
        """
        end = self._clock() + self._retry_seconds
        needs_credentials = operation.scope is not Scope.PUBLIC
        has_renewed = has_resent = False
        while True:
            headers = await self._credentials.headers(self.call) if needs_credentials else {}
            try:
                response = await self._send(operation, message, headers)
            except ConnectionFailed as error:
                may_resend = operation.repeatable or operation.supports_idempotency_key
                if has_resent or (error.sent and not may_resend):
                    raise
                has_resent = True
                await self._sleep(_RESEND_AFTER_SECONDS)
                continue
            refusal = error_of(response)
            if refusal is None:
                return response
            if isinstance(refusal, Unauthenticated) and needs_credentials and not has_renewed:
                has_renewed = True
                if self._credentials.renew(headers):
                    continue
            pause = _pause_before_retry(refusal, operation)
            if pause is None or self._clock() + pause > end:
                raise refusal
            await self._sleep(pause)

    async def _send(
        self, operation: Operation[Any, Any], message: wire.Message, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """Send a request once, and return the response, which may be an error."""
        timeout = httpx2.Timeout(operation.timeout + _MARGIN_SECONDS, connect=_CONNECT_SECONDS)
        try:
            return await self._http.request(
                message.method,
                f"{self.url}{message.target}",
                content=message.content or None,
                headers={**message.headers, **headers},
                timeout=timeout,
            )
        except httpx2.RequestError as error:
            # The cause is not kept, because it has the request with its credentials.
            raise connection_failed(self.url, error) from None
        finally:
            # The caller decides on cookies: they are fields of the contract.
            self._http.cookies.clear()


def _checked_url(url: str) -> str:
    """Return a URL without a slash at its end. Raise `ValueError`, without the URL, because it may have a password."""
    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        raise ValueError("the URL is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError("the URL must be like https://svgx.example.org")
    if parts.userinfo or parts.query or parts.fragment:
        raise ValueError("the URL must have no user, password, query or fragment")
    return str(parts).rstrip("/")


def _credentials(
    *,
    token: str | None,
    api_key: str | None,
    username: str | None,
    password: str | None,
    link: str | None,
    clock: Callable[[], float],
) -> Credentials:
    headers = {} if link is None else {"X-Share-Link": link}
    given = [each for each in (token, api_key, username) if each is not None]
    if len(given) > 1:
        raise ValueError("give only one of token, api_key, and username with password")
    if (username is None) != (password is None):
        raise ValueError("give username and password together")
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if api_key is not None:
        headers["X-API-Key"] = api_key
    if any(not value.isascii() or not value.isprintable() for value in headers.values()):
        raise ValueError("a token, an API key and a link have only visible ASCII characters")
    if username is None or password is None:
        return FixedCredentials(headers)
    try:
        login = LoginRequest(username=username, password=password)
    except ValidationError as error:
        raise ValueError(from_validation(error).detail) from None
    return Session(login, headers, clock)


def _pause_before_retry(
    error: SvgxError | UnexpectedAnswer, operation: Operation[Any, Any]
) -> float | None:
    """Return the seconds after which the server asks for a repetition, or None if the call must not be repeated.

    The server also asks for it while it still executes an earlier request with the same `Idempotency-Key`. A 503 may
    hide that the request was executed, except `overloaded`. Then only an operation that changes nothing the second time
    is repeated.
    """
    is_pending = isinstance(error, SvgxError) and error.field == "idempotency-key"
    is_refused = error.status == 429 or isinstance(error, Overloaded)
    may_repeat = is_refused or is_pending or (error.status == 503 and operation.repeatable)
    if error.retry_after is None or not may_repeat:
        return None
    return max(_SHORTEST_PAUSE_SECONDS, error.retry_after)
