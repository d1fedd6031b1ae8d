"""The operations that tell gateways which access tokens are valid: public keys and revocations."""

from svgx_auth.keys.signing import Signing
from svgx_auth.revocations import Revocations
from svgx_common.contract.auth import JWKS, Jwks, JwksRequest
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    ListRevocationsRequest,
    RevocationList,
)
from svgx_common.messaging.responder import Call, Responder


class TokenCheckHandlers:
    """The handlers of `JWKS` and `LIST_REVOCATIONS`."""

    def __init__(self, *, signing: Signing, revocations: Revocations) -> None:
        self._signing = signing
        self._revocations = revocations

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(JWKS, self.jwks)
        responder.answer(LIST_REVOCATIONS, self.list_revocations)

    async def jwks(self, _: JwksRequest, __: Call) -> Jwks:
        """Return the public keys that check access tokens."""
        return Jwks(keys=self._signing.public())

    async def list_revocations(self, request: ListRevocationsRequest, _: Call) -> RevocationList:
        """List revocations, for a gateway that starts or may have missed some."""
        return await self._revocations.since(request.since)
