"""Canvases, their members, their journal and their exports: models and operations of the state service."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
)
from svgx_common.contract.operation import (
    Blob,
    Count,
    Empty,
    Http,
    Identifier,
    Operation,
    RawRequest,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope

CanvasName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$"
    ),
]


class Canvas(ReplyModel):
    """A canvas as a member sees it. `revision` counts its committed journal entries."""

    id: str
    name: str
    role: CanvasRole
    revision: int
    created_at: datetime
    updated_at: datetime


class CreateCanvasRequest(RequestModel):
    name: CanvasName


class ListCanvasesRequest(RequestModel):
    """`name` finds canvases whose name contains it, in any case; `limit` is canvases a page."""

    name: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None


class CanvasPage(ReplyModel):
    items: list[Canvas]
    next: str | None = None


class CanvasRequest(RequestModel):
    canvas_id: Identifier


class RenameCanvasRequest(CanvasRequest):
    name: CanvasName


class Member(ReplyModel):
    user_id: str
    role: CanvasRole


class MemberRequest(CanvasRequest):
    user_id: Identifier


class SetMemberRequest(MemberRequest):
    role: CanvasRole


class ExportFormat(StrEnum):
    SVG = "svg"
    PNG = "png"
    JSON = "json"
    YJS = "yjs"


Pixels = Annotated[int, Field(ge=1, le=8192)]


class ExportRequest(CanvasRequest):
    """`width`, `height` (pixels) and `scale` are for PNG only; one given side keeps the proportions."""

    format: ExportFormat = ExportFormat.SVG
    width: Pixels | None = None
    height: Pixels | None = None
    scale: Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)] | None = None


class Access(ReplyModel):
    """The caller's role on a canvas."""

    role: CanvasRole


class AppendRequest(RawRequest):
    """Content: `svgx_common.messaging.wire.encode_entries`. Idempotent by (canvas, writer, sequence)."""


class LoadRequest(CanvasRequest):
    """`after` is the revision the caller already has; 0 asks for the whole content."""

    after: Count = 0


CREATE_CANVAS = Operation(
    subject="svgx.state.canvas.create",
    summary="Create a canvas; the caller owns it",
    request=CreateCanvasRequest,
    reply=Canvas,
    scope=Scope.CREATE,
    http=Http("POST", "/runtime/canvases/", status=201),
    rate=RateClass.WRITE,
)
LIST_CANVASES = Operation(
    subject="svgx.state.canvas.list",
    summary="List the canvases the caller may see, newest first",
    request=ListCanvasesRequest,
    reply=CanvasPage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/runtime/canvases/"),
)
GET_CANVAS = Operation(
    subject="svgx.state.canvas.get",
    summary="One canvas",
    request=CanvasRequest,
    reply=Canvas,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/canvases/{canvas_id}"),
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
    summary="Delete a canvas; its content is kept and can be brought back",
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
    summary="A user's role on a canvas",
    request=MemberRequest,
    reply=Member,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/canvases/{canvas_id}/members/{user_id}"),
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
    errors=(NotFound, Conflict),
)
REMOVE_MEMBER = Operation(
    subject="svgx.state.member.remove",
    summary="Take a user's role on a canvas away",
    request=MemberRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("DELETE", "/runtime/canvases/{canvas_id}/members/{user_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound, Conflict),
)
EXPORT = Operation(
    subject="svgx.state.export",
    summary="The saved content as sanitised SVG, PNG, element JSON or one Yjs update",
    request=ExportRequest,
    reply=Blob,
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
    summary="The caller's role on a canvas",
    request=CanvasRequest,
    reply=Access,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    errors=(NotFound, Forbidden),
)
JOURNAL_APPEND = Operation(
    subject="svgx.state.journal.append",
    summary="Commit the merged updates of many canvases in one transaction",
    request=AppendRequest,
    reply=Blob,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=15.0,
    max_body=256 * 1024 * 1024,
    errors=(Unavailable,),
)
JOURNAL_LOAD = Operation(
    subject="svgx.state.journal.load",
    summary="What was committed on a canvas after a revision",
    request=LoadRequest,
    reply=Blob,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=30.0,
    errors=(NotFound, Unavailable),
)
