"""The handlers of share links, and the listener for changes of the accounts that created links."""

from svgx_common.contract.operation import Empty
from svgx_common.contract.revocations import REVOKED, RevocationList
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED
from svgx_common.contract.storage.links import (
    CHECK_LINK,
    CREATE_LINK,
    END_LINK,
    LIST_LINKS,
    CheckedLink,
    CheckLinkRequest,
    CreateLinkRequest,
    EndLinkRequest,
    LinkPage,
    ListLinksRequest,
    NewLink,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_state.sharing.links import Links


class Sharing:
    """The handlers of all operations on share links.

    Before a user creates, lists or ends links, the gateway checks that the user is an owner of the canvas. Only the
    gateway may call `CHECK_LINK`.
    """

    def __init__(self, bus: Bus, links: Links) -> None:
        self._bus = bus
        self._links = links

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(CREATE_LINK, self.create_link)
        responder.answer(LIST_LINKS, self.list_links)
        responder.answer(END_LINK, self.end_link)
        responder.answer(CHECK_LINK, self.check_link)

    async def start(self) -> None:
        """Listen to revocations, because a revocation may announce a change of the account that created a link."""
        await self._bus.listen(REVOKED.subject, self._revoked)

    async def create_link(self, request: CreateLinkRequest, call: Call) -> NewLink:
        return await self._links.create(request, call.signed_in_caller())

    async def list_links(self, request: ListLinksRequest, _: Call) -> LinkPage:
        return await self._links.page(request)

    async def end_link(self, request: EndLinkRequest, call: Call) -> Empty:
        await self._links.end(request, call.signed_in_caller())
        await self._announce(request.canvas_id)
        return Empty()

    async def check_link(self, request: CheckLinkRequest, _: Call) -> CheckedLink:
        return await self._links.check(request.token)

    async def _revoked(self, _: str, content: bytes) -> None:
        """Make the gateways check the roles on canvases that a changed account has shared.

        An ended session changes no account, so it ends no link.
        """
        items = RevocationList.model_validate_json(content).items
        changed = [item.user_id for item in items if item.before_version is not None]
        if changed:
            for canvas_id in await self._links.shared_by(changed):
                await self._announce(canvas_id)

    async def _announce(self, canvas_id: str) -> None:
        await self._bus.broadcast(CANVAS_ACCESS_CHANGED, Empty(), canvas_id=canvas_id)
