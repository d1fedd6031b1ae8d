"""The handlers of canvases, members, exports and the journal. The gateway has checked the callers' canvas roles."""

from opentelemetry import trace

from svgx_common.contract import state
from svgx_common.contract.administration.canvases import (
    LIST_MEMBERS,
    ListMembersRequest,
    MemberPage,
)
from svgx_common.contract.errors import BadRequest
from svgx_common.contract.operation import Blob, Empty
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED, CommittedBatch, EntryBatch
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.messaging.spans import BATCH_SIZE
from svgx_common.messaging.wire import decode, encode
from svgx_state.canvases import Canvases
from svgx_state.exports import Exports
from svgx_state.journal import Journal
from svgx_state.members import Members
from svgx_yjs.lib0 import Malformed


class Handlers:
    """The handlers of the operations on canvases, members, exports and the journal, one method for each operation."""

    def __init__(
        self, bus: Bus, canvases: Canvases, members: Members, journal: Journal, exports: Exports
    ) -> None:
        self._bus = bus
        self._canvases = canvases
        self._members = members
        self._journal = journal
        self._exports = exports

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(state.CREATE_CANVAS, self.create_canvas)
        responder.answer(state.LIST_CANVASES, self.list_canvases)
        responder.answer(state.GET_CANVAS, self.get_canvas)
        responder.answer(state.RENAME_CANVAS, self.rename_canvas)
        responder.answer(state.DELETE_CANVAS, self.delete_canvas)
        responder.answer(LIST_MEMBERS, self.list_members)
        responder.answer(state.GET_MEMBER, self.get_member)
        responder.answer(state.SET_MEMBER, self.set_member)
        responder.answer(state.REMOVE_MEMBER, self.remove_member)
        responder.answer(state.EXPORT, self.export)
        responder.answer(state.CANVAS_ACCESS, self.canvas_access)
        responder.answer(state.JOURNAL_APPEND, self.journal_append)
        responder.answer(state.JOURNAL_LOAD, self.journal_load)

    async def create_canvas(self, request: state.CreateCanvasRequest, call: Call) -> state.Canvas:
        return await self._canvases.create(call.signed_in_caller(), request.name)

    async def list_canvases(
        self, request: state.ListCanvasesRequest, call: Call
    ) -> state.CanvasPage:
        return await self._canvases.page(request, call.signed_in_caller())

    async def get_canvas(self, request: state.CanvasRequest, call: Call) -> state.Canvas:
        return await self._canvases.get(call.signed_in_caller(), request.canvas_id)

    async def rename_canvas(self, request: state.RenameCanvasRequest, call: Call) -> state.Canvas:
        return await self._canvases.rename(call.signed_in_caller(), request.canvas_id, request.name)

    async def delete_canvas(self, request: state.CanvasRequest, call: Call) -> Empty:
        await self._canvases.delete(call.caller, request.canvas_id)
        await self._announce_access_change(request.canvas_id)
        return Empty()

    async def list_members(self, request: ListMembersRequest, _: Call) -> MemberPage:
        return await self._members.page(request)

    async def get_member(self, request: state.MemberRequest, _: Call) -> state.Member:
        return await self._members.get(request.canvas_id, request.user_id)

    async def set_member(self, request: state.SetMemberRequest, call: Call) -> state.Member:
        member = await self._members.set(
            call.caller, request.canvas_id, request.user_id, request.role
        )
        await self._announce_access_change(request.canvas_id)
        return member

    async def remove_member(self, request: state.MemberRequest, call: Call) -> Empty:
        await self._members.remove(call.caller, request.canvas_id, request.user_id)
        await self._announce_access_change(request.canvas_id)
        return Empty()

    async def export(self, request: state.ExportRequest, call: Call) -> Blob:
        canvas = await self._canvases.get(call.signed_in_caller(), request.canvas_id)
        return await self._exports.export(request, canvas.name, call)

    async def canvas_access(self, request: state.CanvasRequest, call: Call) -> state.Access:
        canvas = await self._canvases.get(call.signed_in_caller(), request.canvas_id)
        return state.Access(role=canvas.role)

    async def journal_append(self, request: state.AppendRequest, _: Call) -> Blob:
        try:
            entries = list(decode(EntryBatch, request.content).entries)
        except Malformed as error:
            raise BadRequest(f"the entries cannot be read: {error}") from None
        trace.get_current_span().set_attribute(BATCH_SIZE, len(entries))
        return Blob(encode(CommittedBatch(tuple(await self._journal.append(entries)))))

    async def journal_load(self, request: state.LoadRequest, _: Call) -> Blob:
        return Blob(encode(await self._journal.load(request.canvas_id, request.after)))

    async def _announce_access_change(self, canvas_id: str) -> None:
        """Make the gateways check the roles of open connections again. Call this after the change is committed."""
        await self._bus.broadcast(CANVAS_ACCESS_CHANGED, Empty(), canvas_id=canvas_id)
