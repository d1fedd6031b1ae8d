"""What a request must pass before it reaches a service: identity, scope, role on the canvas."""

from typing import Any

from starlette.requests import Request

from svgx_common.caller import Caller
from svgx_common.contract.errors import Forbidden
from svgx_common.contract.operation import Operation, RequestModel
from svgx_common.contract.policy import Scope
from svgx_gateway.access import Access
from svgx_gateway.identity import Identities


class Guard:
    """Decides by what the contract says of the operation."""

    def __init__(self, identities: Identities, access: Access) -> None:
        self._identities = identities
        self._access = access

    async def admit(self, operation: Operation[Any, Any], request: Request) -> Caller | None:
        """Who calls; None for public operations. Raises `Unauthenticated` or `Forbidden`."""
        if operation.scope is Scope.PUBLIC:
            return None
        caller = (await self._identities.of_request(request)).caller
        if not operation.scope.admits(caller.role):
            raise Forbidden(f"the role {caller.role} does not allow this")
        return caller

    async def check_canvas(
        self, operation: Operation[Any, Any], message: RequestModel, caller: Caller | None
    ) -> None:
        """The caller's role on the canvas the request names. Raises `NotFound` or `Forbidden`."""
        if operation.canvas_role is not None and caller is not None:
            canvas_id = getattr(message, "canvas_id")  # noqa: B009  # every such request has one (a test says so)
            await self._access.require(caller, canvas_id, operation.canvas_role)
