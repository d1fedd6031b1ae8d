"""Who calls: the bearer token of a request, or the token of a WebSocket."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from svgx_common.caller import Caller
from svgx_common.contract.errors import Unauthenticated
from svgx_common.tokens import verify
from svgx_gateway.revocations import Revocations


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller and the Unix time, in seconds, at which the token that says so ends."""

    caller: Caller
    expires_at: int


class Identities:
    """Checks access tokens by the secret they are signed with and by what is revoked; asks nobody."""

    def __init__(self, jwt_secret: str, revocations: Revocations) -> None:
        self._jwt_secret = jwt_secret
        self._revocations = revocations

    def of_request(self, request: HTTPConnection) -> Identity:
        """The caller named by the `Authorization` header. Raises `Unauthenticated`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                "send `Authorization: Bearer <access token>`", field="authorization"
            )
        return self.of_token(token.strip())

    def of_token(self, token: str) -> Identity:
        """The caller an access token names. Raises `Unauthenticated`, or `Unavailable` at the very start."""
        claims = verify(token, self._jwt_secret)
        identity = Identity(claims.caller(), claims.expires_at)
        self.recheck(identity)
        return identity

    def recheck(self, identity: Identity) -> None:
        """Raise as `of_token` does when the token has been revoked since."""
        self._revocations.check(identity.caller)
