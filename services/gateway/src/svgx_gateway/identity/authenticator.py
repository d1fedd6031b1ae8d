"""Authentication of HTTP requests and WebSockets."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import HTTPConnection

from svgx_common.contract.errors import Unauthenticated
from svgx_gateway.identity.api_keys import PREFIX, ApiKeys
from svgx_gateway.identity.credentials import header_token, websocket_token
from svgx_gateway.identity.identity import Identity
from svgx_gateway.identity.revocations import Revocations
from svgx_gateway.identity.token_keys import TokenKeys

CountUnknownKey = Callable[[HTTPConnection], Awaitable[None]]
"""Called before the auth service is asked about an API key that is not cached. Raises `TooManyRequests`."""


class Authenticator:
    """Checks access tokens and API keys.

    The auth service is asked only about API keys without a fresh answer in the cache, and about unknown signing keys.
    """

    def __init__(
        self,
        keys: TokenKeys,
        api_keys: ApiKeys,
        revocations: Revocations,
        count_unknown_key: CountUnknownKey,
    ) -> None:
        self._keys = keys
        self._api_keys = api_keys
        self._revocations = revocations
        self._count_unknown_key = count_unknown_key

    async def authenticate_request(self, request: HTTPConnection) -> Identity:
        """Authenticate the token in the header `Authorization` or `X-API-Key`. Raise as `authenticate_token` does."""
        token = header_token(request.headers)
        if not token:
            raise Unauthenticated(
                "send `Authorization: Bearer <access token or API key>`", field="authorization"
            )
        return await self.authenticate_token(token, request)

    async def authenticate_websocket(self, socket: HTTPConnection) -> Identity:
        """Authenticate the token in a subprotocol, a header or the query, in this order.

        Raise as `authenticate_token` does.
        """
        return await self.authenticate_token(websocket_token(socket), socket)

    async def authenticate_token(self, token: str, connection: HTTPConnection) -> Identity:
        """Return the identity of an access token or API key that came over `connection`.

        Raise `Unauthenticated`. Where the auth service has to be asked, raise also `Unavailable` or `TooManyRequests`.
        """
        if token.startswith(PREFIX):
            identity = await self._api_keys.identity(
                token, partial(self._count_unknown_key, connection)
            )
        else:
            claims = await self._keys.verify(token)
            identity = Identity(claims.caller(), claims.expires_at)
        self.check_not_revoked(identity)
        return identity

    def check_not_revoked(self, identity: Identity) -> None:
        """Raise `Unauthenticated` if the token or key has been revoked."""
        self._revocations.check(identity.caller)
