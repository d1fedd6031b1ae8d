"""Deleted canvases: restore and purge. Models and operations of the state service."""

from svgx_common.contract.errors import Conflict, Forbidden, NotFound, QuotaFull
from svgx_common.contract.operation import Http, Operation, ReplyModel
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.state import Canvas, CanvasRequest


class Purged(ReplyModel):
    """The progress of a purge: the number of rows that this request removed, and whether the purge is finished.

    A large canvas takes longer than one request. The service then continues in the background.
    """

    canvas_id: str
    finished: bool
    rows: int


RESTORE_CANVAS = Operation(
    subject="svgx.state.canvas.restore",
    summary="Restore a deleted canvas with its content, members and share links",
    request=CanvasRequest,
    reply=Canvas,
    scope=Scope.SIGNED_IN,
    http=Http("POST", "/runtime/canvases/{canvas_id}/restore"),
    rate=RateClass.WRITE,
    asks="auth",
    reaches_others=True,
    errors=(Conflict, Forbidden, NotFound, QuotaFull),
)
PURGE_CANVAS = Operation(
    subject="svgx.state.canvas.purge",
    summary="Remove a deleted canvas for good, before its retention has passed",
    request=CanvasRequest,
    reply=Purged,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/canvases/{canvas_id}/purge"),
    rate=RateClass.HEAVY,
    timeout=30.0,
    errors=(Conflict, NotFound),
)
