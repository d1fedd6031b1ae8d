"""Canvases, members, the journal and exports: models, operations and channels of the state service."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    QuotaFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.fields import patterns
from svgx_common.contract.fields.display_names import check_display_name
from svgx_common.contract.operation import (
    Blob,
    Channel,
    Count,
    Empty,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    RawRequest,
    ReplyModel,
    RequestModel,
    Timestamp,
    UserId,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.storage.canvas_content import CanvasContent
from svgx_yjs.record import record

CanvasId = Annotated[Identifier, Field(examples=["2f1c7a52-9a5e-4a3b-8a6e-6f0f3f0f9b1d"])]

CanvasName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=patterns.NAME),
    AfterValidator(check_display_name),
    Field(examples=["Floor plan"]),
]


class Canvas(ReplyModel):
    """A canvas and the caller's role on it. `revision` counts the committed journal entries.

    `deleted_at` is null for a canvas that is not deleted.
    """

    id: str
    name: str
    role: CanvasRole
    revision: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class CreateCanvasRequest(RequestModel):
    name: CanvasName


class ListCanvasesRequest(RequestModel):
    """`name` selects canvases with this text in their name, ignoring case.

    `deleted` selects only the deleted canvases that the caller may restore. Without it, no deleted canvas is listed.
    """

    name: (
        Annotated[str, StringConstraints(max_length=200, pattern=patterns.WITHOUT_NULL)] | None
    ) = None
    deleted: bool = False
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class CanvasPage(ReplyModel):
    items: list[Canvas]
    next: str | None = None


class CanvasRequest(RequestModel):
    canvas_id: CanvasId


class RenameCanvasRequest(CanvasRequest):
    name: CanvasName


class Member(ReplyModel):
    user_id: str
    role: CanvasRole


class MemberRequest(CanvasRequest):
    user_id: UserId


class SetMemberRequest(MemberRequest):
    role: Annotated[CanvasRole, Field(examples=["editor"])]


class ExportFormat(StrEnum):
    SVG = "svg"
    PNG = "png"
    JSON = "json"
    YJS = "yjs"


Pixels = Annotated[int, Field(ge=1, le=8192)]


class ExportRequest(CanvasRequest):
    """`width` and `height` (pixels) and `scale` apply to PNG only.

    The picture always keeps the proportions of the canvas. With both sides, it is the largest picture that fits into
    them. Without a side, `scale` multiplies the canvas's own size. A request may not have both a side and `scale`.

    `at` (a past time) or `version` (the id of a version) selects the content to export. A request may have only one of
    them.
    """

    format: Annotated[ExportFormat, Field(examples=["svg"])] = ExportFormat.SVG
    width: Pixels | None = None
    height: Pixels | None = None
    scale: Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)] | None = None
    at: Timestamp | None = None
    version: Identifier | None = None


class Access(ReplyModel):
    """The caller's role on a canvas."""

    role: CanvasRole


@record
class Entry:
    """A merged update of one canvas, sent by its holder to the state service, which commits it to the journal.

    `writer` is the holder's epoch, and `sequence` numbers the writer's entries. When a restore of a backup creates a
    canvas, state itself makes the entries, and `writer` is the id of the restore. State commits each (`canvas_id`,
    `writer`, `sequence`) only once. `author_bytes` has the number of bytes that each author sent, in the order of
    `authors`. The entry counts towards the authors' quotas in these proportions, and without `author_bytes` in equal
    parts.
    """

    canvas_id: str
    writer: str
    sequence: int
    authors: tuple[str, ...]
    update: bytes
    author_bytes: tuple[int, ...] = ()


@record
class EntryBatch:
    """Entries that state commits in one transaction."""

    entries: tuple[Entry, ...]


@record
class Committed:
    """State's answer to one entry: the canvas's revision after the entry, or 0 for an unknown canvas."""

    canvas_id: str
    revision: int


@record
class CommittedBatch:
    """The answers to an `EntryBatch`, in the order of its entries."""

    results: tuple[Committed, ...]


@record
class Content:
    """The committed updates of a canvas up to `revision`, in order. The first may be a snapshot.

    The updates begin after the requested revision (`LoadRequest.after`), or at the start of the canvas.
    """

    revision: int
    updates: tuple[bytes, ...]
    outline: bytes = b""
    """The outline of the snapshot (`svgx_canvas.document.outline`), or empty."""


class AppendRequest(RawRequest):
    """An `EntryBatch` in lib0's encoding; the reply is a `CommittedBatch`.

    Appending is idempotent by canvas, writer and sequence.
    """


class LoadRequest(CanvasRequest):
    """`after` is the revision that the caller already has; 0 asks for the whole content. The reply is a `Content`."""

    after: Count = 0


CREATE_CANVAS = Operation(
    subject="svgx.state.canvas.create",
    summary="Create a canvas; the caller owns it",
    request=CreateCanvasRequest,
    reply=Canvas,
    scope=Scope.CREATE,
    http=Http("POST", "/runtime/canvases/", status=201),
    rate=RateClass.WRITE,
    errors=(QuotaExceeded, QuotaFull),
)
LIST_CANVASES = Operation(
    subject="svgx.state.canvas.list",
    summary="List the canvases that the caller may see, newest first",
    request=ListCanvasesRequest,
    reply=CanvasPage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/runtime/canvases/"),
    repeatable=True,
)
GET_CANVAS = Operation(
    subject="svgx.state.canvas.get",
    summary="Get one canvas",
    request=CanvasRequest,
    reply=Canvas,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/canvases/{canvas_id}"),
    repeatable=True,
    errors=(NotFound,),
)
RENAME_CANVAS = Operation(
    subject="svgx.state.canvas.rename",
    summary="Rename a canvas",
    request=RenameCanvasRequest,
    reply=Canvas,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http("PATCH", "/runtime/canvases/{canvas_id}"),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
DELETE_CANVAS = Operation(
    subject="svgx.state.canvas.delete",
    summary="Delete a canvas; its content is kept and can be restored",
    request=CanvasRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("DELETE", "/runtime/canvases/{canvas_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
GET_MEMBER = Operation(
    subject="svgx.state.member.get",
    summary="Get a user's role on a canvas",
    request=MemberRequest,
    reply=Member,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/canvases/{canvas_id}/members/{user_id}"),
    repeatable=True,
    needs_account=True,
    errors=(NotFound,),
)
SET_MEMBER = Operation(
    subject="svgx.state.member.set",
    summary="Give a user a role on a canvas",
    request=SetMemberRequest,
    reply=Member,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("PUT", "/runtime/canvases/{canvas_id}/members/{user_id}"),
    rate=RateClass.WRITE,
    asks="auth",
    errors=(NotFound, Conflict),
)
REMOVE_MEMBER = Operation(
    subject="svgx.state.member.remove",
    summary="Remove a user's role on a canvas",
    request=MemberRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("DELETE", "/runtime/canvases/{canvas_id}/members/{user_id}", status=204),
    rate=RateClass.WRITE,
    asks="auth",
    errors=(NotFound, Conflict),
)
EXPORT = Operation(
    subject="svgx.state.export",
    summary="Export the saved content as sanitised SVG, PNG, element JSON or one Yjs update",
    request=ExportRequest,
    reply=Blob,
    json_reply=CanvasContent,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http(
        "GET",
        "/runtime/canvases/{canvas_id}/export",
        produces=("image/svg+xml", "image/png", "application/json", "application/octet-stream"),
    ),
    rate=RateClass.HEAVY,
    timeout=60.0,
    errors=(NotFound, Invalid, TooLarge),
)
CANVAS_ACCESS = Operation(
    subject="svgx.state.canvas.access",
    summary="Get the caller's role on a canvas",
    request=CanvasRequest,
    reply=Access,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    repeatable=True,
    errors=(NotFound, Forbidden, Unauthenticated),
)
JOURNAL_APPEND = Operation(
    subject="svgx.state.journal.append",
    summary="Commit the merged updates of many canvases in one transaction",
    request=AppendRequest,
    reply=Blob,
    scope=Scope.INTERNAL,
    callers=("collab",),
    rate=RateClass.INTERNAL,
    timeout=15.0,
    max_body=256 * 1024 * 1024,
    errors=(Unavailable,),
)
JOURNAL_LOAD = Operation(
    subject="svgx.state.journal.load",
    summary="Load the updates of a canvas that were committed after a revision",
    request=LoadRequest,
    reply=Blob,
    scope=Scope.INTERNAL,
    callers=("collab",),
    rate=RateClass.INTERNAL,
    timeout=30.0,
    repeatable=True,
    errors=(NotFound, Unavailable),
)

CANVAS_ACCESS_CHANGED = Channel(
    subject="svgx.canvas.{canvas_id}.access",
    summary="State's broadcast: the canvas was deleted or restored, or the role of a member or link may have changed",
    publishers=("state",),
    subscribers=("gateway", "collab"),
    payload=Empty,
)
