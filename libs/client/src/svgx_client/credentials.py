"""The credentials of a client: an access token, an API key, a share link, or a username and a password."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from svgx_common.contract.auth import (
    LOGIN,
    LOGOUT,
    REFRESH,
    LoginRequest,
    LogoutRequest,
    RefreshRequest,
    Tokens,
)
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.operation import Operation, Reply, Request

RENEW_BEFORE_SECONDS = 60.0
"""Seconds before the end of an access token at which a session renews it.

A token with a lifetime of less than ten minutes is renewed after nine tenths of its lifetime.
"""


class Call(Protocol):
    """The method `Client.call`."""

    async def __call__(self, operation: Operation[Request, Reply], request: Request) -> Reply:
        """Call the operation, and return its reply."""


class Credentials(Protocol):
    """The headers that authenticate requests."""

    async def headers(self, call: Call, /) -> Mapping[str, str]:
        """Return the headers of the next request. `call` logs in or renews the tokens if this is necessary."""

    def renew(self, refused: Mapping[str, str], /) -> bool:
        """Return whether a request that was refused with these headers may be sent again with other headers."""

    async def end(self, call: Call, /) -> None:
        """End the session, if the client has opened one."""


class FixedCredentials:
    """An access token, an API key, a share link, or nothing. The headers never change."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def headers(self, _call: Call) -> Mapping[str, str]:
        """Return the headers."""
        return self._headers

    def renew(self, _refused: Mapping[str, str]) -> bool:
        """Return False, because there are no other headers."""
        return False

    async def end(self, _call: Call) -> None:
        """Do nothing, because the token belongs to another program."""


class Session:
    """A session that logs in before the first request, and renews its tokens before the access token expires.

    `clock` is in seconds. `headers` are further headers, such as a share link.
    """

    def __init__(
        self,
        login: LoginRequest,
        headers: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._login = login
        self._headers = headers
        self._clock = clock
        self._tokens: Tokens | None = None
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def headers(self, call: Call) -> Mapping[str, str]:
        """Return the headers of the next request. Log in or renew the tokens first if this is necessary."""
        async with self._lock:  # calls at the same time share one log-in
            if self._tokens is None or self._clock() >= self._renew_at:
                await self._renew(call)
            return self._headers_now()

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Let the next request renew the tokens, unless another call has renewed them since. Return True."""
        if self._tokens is not None and refused == self._headers_now():
            self._renew_at = 0.0
        return True

    async def end(self, call: Call) -> None:
        """Log out."""
        if self._tokens is not None:
            await call(LOGOUT, LogoutRequest())
            self._tokens = None

    def _headers_now(self) -> Mapping[str, str]:
        assert self._tokens is not None
        return {**self._headers, "Authorization": f"Bearer {self._tokens.access_token}"}

    async def _renew(self, call: Call) -> None:
        """Refresh the tokens. Log in if there are none, or if the session has ended."""
        started = self._clock()
        tokens = None
        if self._tokens is not None:
            request = RefreshRequest(refresh_token=self._tokens.refresh_token)
            try:
                tokens = await call(REFRESH, request)
            except Unauthenticated:
                self._tokens = None
        if tokens is None:
            tokens = await call(LOGIN, self._login)
        self._tokens = tokens
        margin = min(RENEW_BEFORE_SECONDS, tokens.expires_in / 10)
        self._renew_at = started + tokens.expires_in - margin
