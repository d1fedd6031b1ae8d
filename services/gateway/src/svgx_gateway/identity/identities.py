"""Who calls: the token of a request, or of a WebSocket."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from svgx_common.contract.errors import Unauthenticated
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.api_keys import MARK, ApiKeys
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.token_keys import TokenKeys
from svgx_gateway.websocket.handshake import offered_token

Stranger = Callable[[HTTPConnection], Awaitable[None]]
"""Awaited before auth is asked about a key that nothing is known of; raises `TooManyRequests`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller and the Unix time, in seconds, at which the token that says so ends."""

    caller: Caller
    expires_at: int


class Identities:
    """Checks access tokens by the keys they are signed with and by what is revoked; asks nobody, as a rule."""

    def __init__(
        self, keys: TokenKeys, api_keys: ApiKeys, revocations: Revocations, stranger: Stranger
    ) -> None:
        self._keys = keys
        self._api_keys = api_keys
        self._revocations = revocations
        self._stranger = stranger

    async def of_request(self, request: HTTPConnection) -> Identity:
        """The caller named by the `Authorization` header, or by `X-API-Key`. Raises as `of_token` does."""
        token = _header_token(request.headers)
        if not token:
            raise Unauthenticated(
                "send `Authorization: Bearer <access token or API key>`", field="authorization"
            )
        return await self.of_token(token, request)

    async def of_socket(self, socket: HTTPConnection) -> Identity:
        """The caller named by a subprotocol, else by a header, else by the query. Raises as `of_token` does."""
        token = offered_token(socket) or _header_token(socket.headers)
        return await self.of_token(token or socket.query_params.get("token", ""), socket)

    async def of_token(self, token: str, connection: HTTPConnection) -> Identity:
        """The caller named by a token or API key that came over `connection`.

        Raises `Unauthenticated`; where auth must be asked about a key also `Unavailable`, or `TooManyRequests`.
        """
        if token.startswith(MARK):
            holder = await self._api_keys.holder(token, partial(self._stranger, connection))
            identity = Identity(holder.caller, holder.expires_at)
        else:
            claims = await self._keys.verify(token)
            identity = Identity(claims.caller(), claims.expires_at)
        self.recheck(identity)
        return identity

    def recheck(self, identity: Identity) -> None:
        """Raise as `of_token` does when the token has been revoked since."""
        self._revocations.check(identity.caller)


def _header_token(headers: Headers) -> str:
    if (key := headers.get("x-api-key")) and "authorization" not in headers:
        return key.strip()
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
