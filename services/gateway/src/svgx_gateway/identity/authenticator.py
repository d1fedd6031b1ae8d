"""Authentication of HTTP requests and WebSockets."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from starlette.requests import HTTPConnection

from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.storage.links import LINK_PREFIX
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.api_keys import API_KEY_PREFIX, ApiKeys
from svgx_gateway.identity.credentials import (
    header_api_key,
    header_link,
    header_token,
    websocket_link,
    websocket_token,
)
from svgx_gateway.identity.identity import NEVER, Identity
from svgx_gateway.identity.revocations import AccountChanged, Revocations
from svgx_gateway.identity.share_links import ShareLink, ShareLinks
from svgx_gateway.identity.token_keys import TokenKeys

CountLookup = Callable[[HTTPConnection], Awaitable[None]]
"""A function that is called before a service is asked about an API key or share link that is not cached.

It raises `TooManyRequests` beyond the rate limit.
"""


class Authenticator:
    """Checks access tokens, API keys and share links.

    The auth service is asked only about API keys without a fresh answer in the cache, and about unknown signing keys.
    The state service is asked only about share links without a fresh answer in the cache.
    """

    def __init__(
        self,
        keys: TokenKeys,
        api_keys: ApiKeys,
        share_links: ShareLinks,
        revocations: Revocations,
        count_lookup: CountLookup,
    ) -> None:
        self._keys = keys
        self._api_keys = api_keys
        self._share_links = share_links
        self._revocations = revocations
        self._count_lookup = count_lookup

    async def authenticate_request(self, request: HTTPConnection) -> Identity:
        """Authenticate the token in the header `Authorization` or `X-API-Key`, and the link in `X-Share-Link`.

        If the link of an account cannot be looked up, the identity has the error (`link_error`) and no link.

        Raises `Unauthenticated` with neither a token nor a link, and the errors of `authenticate_token`.
        """
        token, link = header_token(request.scope), header_link(request.scope)
        if not token and not link:
            raise Unauthenticated(
                "send `Authorization: Bearer <access token or API key>`", field="authorization"
            )
        return await self._authenticate(token, link, request)

    async def authenticate_websocket(self, socket: HTTPConnection) -> Identity:
        """Authenticate the token in a subprotocol, a header or the query, in this order, and the share link.

        Raises the errors of `authenticate_token`, and the error of a link that cannot be looked up.
        """
        return await self._authenticate_socket(websocket_token(socket), socket)

    async def authenticate_message(self, token: str, socket: HTTPConnection) -> Identity:
        """Authenticate the token that a client sent in a message, and the share link of its socket.

        An empty token stands for the token of the handshake. Raises the errors of `authenticate_websocket`.
        """
        return await self._authenticate_socket(token or websocket_token(socket), socket)

    async def authenticate_token(self, token: str, connection: HTTPConnection) -> Identity:
        """Return the identity of an access token, API key or share link that came over `connection`.

        Raises `Unauthenticated` for a text that is not valid. Raises `Unavailable` for an access token or API key while
        the revocations are unknown. When a service has to be asked, also raises `TooManyRequests` and the errors of the
        call.
        """
        if token.startswith(LINK_PREFIX):
            return _visitor(await self._find_link(token, connection))
        if not token.startswith(API_KEY_PREFIX):
            if token and "." not in token and token == header_api_key(connection.scope):
                # Without a dot, this is no access token either, and its refusal would mislead the caller.
                raise Unauthenticated("the API key is not valid")
            return self._not_revoked(await self._keys.identify(token))
        count_lookup = partial(self._count_lookup, connection)
        try:
            return self._not_revoked(await self._api_keys.identity(token, count_lookup))
        except AccountChanged:
            # The account changed while auth answered. Auth's next answer includes the change.
            return self._not_revoked(await self._api_keys.identity(token, count_lookup))

    def check_not_revoked(self, identity: Identity) -> None:
        """Raise the errors of `Revocations.check`."""
        self._revocations.check(identity.caller)

    def _not_revoked(self, identity: Identity) -> Identity:
        self.check_not_revoked(identity)
        return identity

    async def _authenticate_socket(self, token: str, socket: HTTPConnection) -> Identity:
        identity = await self._authenticate(token, websocket_link(socket), socket)
        if identity.link_error is not None:
            # The client tries again. Without this error, it would keep the role of the account for hours.
            raise identity.link_error
        return identity

    async def _authenticate(self, token: str, link: str, connection: HTTPConnection) -> Identity:
        """Return the identity of an account with a link, of an account alone, or of a visitor.

        If there is an account's token, a link that is not valid is ignored, because the account may have a role on the
        canvas without the link.
        """
        if not token and link:
            return _visitor(await self._find_link(link, connection))
        identity = await self.authenticate_token(token, connection)
        if not link or identity.caller.is_visitor:
            return identity
        try:
            share_link = await self._find_link(link, connection)
        except Unauthenticated:
            return identity
        except (TooManyRequests, *TEMPORARY_ERRORS) as error:
            return replace(identity, link_error=error)
        caller = identity.caller.with_link(share_link.id)
        return Identity(caller, identity.expires_at, link_expires_at=share_link.expires_at)

    async def _find_link(self, token: str, connection: HTTPConnection) -> ShareLink:
        return await self._share_links.find(token, partial(self._count_lookup, connection))


def _visitor(link: ShareLink) -> Identity:
    expires_at = NEVER if link.expires_at is None else link.expires_at
    return Identity(Caller.of_link(link.id, link.created_by), expires_at)
