"""Undo and redo of changes of elements: models and operations."""

from svgx_common.contract.errors import (
    Conflict,
    Invalid,
    NotFound,
    QuotaExceeded,
    QuotaFull,
    TooLarge,
    Unavailable,
)
from svgx_common.contract.operation import Http, Operation, ReplyModel
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest


class UndoRequest(CanvasRequest):
    """The canvas of the caller's changes."""


class EditUndone(ReplyModel):
    """The revision of the commit, and the ids of the changed elements. The id of the root is "".

    `skipped` has the ids of the elements that were not set back completely, because of later edits. An element can be
    in both lists. If nothing has changed, `revision` is the canvas's revision.

    `undo_count` and `redo_count` are the numbers of edits that the caller can undo and redo now. They are null if Redis
    did not answer.
    """

    revision: int
    changed: list[str]
    skipped: list[str]
    undo_count: int | None
    redo_count: int | None


class UndoStatus(ReplyModel):
    """The numbers of edits that the caller can undo and redo on a canvas now."""

    undo_count: int
    redo_count: int


UNDO_EDIT = Operation(
    subject="svgx.collab.elements.undo",
    summary="Undo the caller's own last change of elements on a canvas; live clients receive it",
    request=UndoRequest,
    reply=EditUndone,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http("POST", "/runtime/undo/"),
    rate=RateClass.WRITE,
    timeout=60.0,
    outside=True,
    writes_content=True,
    needs_account=True,
    errors=(NotFound, Conflict, Invalid, TooLarge, QuotaExceeded, QuotaFull, Unavailable),
)
REDO_EDIT = Operation(
    subject="svgx.collab.elements.redo",
    summary="Repeat the change that the caller has undone last on a canvas; live clients receive it",
    request=UndoRequest,
    reply=EditUndone,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http("POST", "/runtime/redo/"),
    rate=RateClass.WRITE,
    timeout=60.0,
    outside=True,
    writes_content=True,
    needs_account=True,
    errors=(NotFound, Conflict, Invalid, TooLarge, QuotaExceeded, QuotaFull, Unavailable),
)
UNDO_STATUS = Operation(
    subject="svgx.collab.elements.history",
    summary="Show how many edits the caller can undo and redo on a canvas",
    request=UndoRequest,
    reply=UndoStatus,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/undo/"),
    outside=True,
    repeatable=True,
    needs_account=True,
    errors=(NotFound, Unavailable),
)
