"""The members and the sizes of canvases: models and operations of the state service, most of them for admins."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from svgx_common.contract.auth import UserRequest
from svgx_common.contract.errors import NotFound
from svgx_common.contract.operation import (
    Http,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest, Member


class ListMembersRequest(CanvasRequest):
    """`limit` is the number of members on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class MemberPage(ReplyModel):
    items: list[Member]
    next: str | None = None


class UserCanvasesRequest(UserRequest):
    """A request for a page of a user's canvases. `only_owner` selects those that only this user owns.

    `limit` is the number of canvases on a page; `cursor` is the `next` value of the page before.
    """

    only_owner: bool = False
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class UserCanvas(ReplyModel):
    """A canvas, and a user's role on it. `only_owner` is true if the user is its only owner."""

    id: str
    name: str
    role: CanvasRole
    only_owner: bool
    revision: int
    created_at: datetime
    updated_at: datetime


class UserCanvasPage(ReplyModel):
    items: list[UserCanvas]
    next: str | None = None


class SizeOrder(StrEnum):
    """The size by which canvases are compared: the size of their content, or of their journal."""

    CONTENT = "content"
    JOURNAL = "journal"


class LargestCanvasesRequest(RequestModel):
    """`by` is the size by which canvases are compared. `limit` is the number of canvases."""

    by: Annotated[SizeOrder, Field(examples=["content"])] = SizeOrder.CONTENT
    limit: PageLimit = 50


class CanvasSize(ReplyModel):
    """The stored bytes of a canvas. A deleted canvas keeps its bytes until it is removed.

    `content_bytes` is the size of the newest snapshot and of the journal entries after it. A collab replica reads the
    snapshot and these entries to open the canvas. `journal_bytes` is the size of all journal entries.
    """

    id: str
    name: str
    content_bytes: int
    journal_bytes: int
    revision: int
    created_at: datetime
    updated_at: datetime
    deleted: bool


class LargestCanvases(ReplyModel):
    """The largest canvases, the largest first."""

    items: list[CanvasSize]


LIST_MEMBERS = Operation(
    subject="svgx.state.member.list",
    summary="List the members of a canvas with their roles, sorted by user id",
    request=ListMembersRequest,
    reply=MemberPage,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/canvases/{canvas_id}/members/"),
    repeatable=True,
    needs_account=True,
    errors=(NotFound,),
)
USER_CANVASES = Operation(
    subject="svgx.state.member.canvases",
    summary="List the canvases of which a user is a member, newest first",
    request=UserCanvasesRequest,
    reply=UserCanvasPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/{user_id}/canvases/"),
    repeatable=True,
)
LARGEST_CANVASES = Operation(
    subject="svgx.state.canvas.largest",
    summary="List the largest canvases",
    request=LargestCanvasesRequest,
    reply=LargestCanvases,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/canvases/largest/"),
    rate=RateClass.HEAVY,
    timeout=30.0,
)
