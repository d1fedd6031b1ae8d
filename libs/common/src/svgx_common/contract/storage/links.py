"""Share links, which give every caller with the link a role on a canvas: models and operations of state."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from svgx_common.contract.errors import Conflict, Invalid, NotFound, Unauthenticated
from svgx_common.contract.fields import patterns
from svgx_common.contract.fields.display_names import check_display_name
from svgx_common.contract.operation import (
    Empty,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    Timestamp,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest

LINK_PREFIX = "svgxlink_"
"""The beginning of the token of every share link. No access token and no API key begins like this.

Secret scanners find tokens by this text, and gateways tell by it that a credential is the token of a share link.
"""

MAX_LINK_TOKEN_CHARACTERS = 128
"""Largest length of a token, in characters. A longer token is refused without asking the state service."""


class LinkRole(StrEnum):
    """The roles that a share link can give. No link gives the role of owner."""

    EDITOR = "editor"
    VIEWER = "viewer"

    @property
    def canvas_role(self) -> CanvasRole:
        """Return the role on the canvas."""
        return CanvasRole(self.value)


class CreateLinkRequest(CanvasRequest):
    """A request for a new link. Without `expires_at`, the link is valid until it is revoked.

    `label` is a text by which owners tell their links apart.
    """

    role: Annotated[LinkRole, Field(examples=["viewer"])]
    expires_at: Timestamp | None = None
    label: Annotated[
        Annotated[
            str,
            StringConstraints(
                min_length=1, max_length=100, strip_whitespace=True, pattern=patterns.NAME
            ),
            AfterValidator(check_display_name),
        ]
        | None,
        Field(examples=["For the client"]),
    ] = None


class LinkInfo(ReplyModel):
    """A link without its token. `prefix` is the beginning of the token."""

    id: str
    canvas_id: str
    role: LinkRole
    label: str | None
    prefix: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class NewLink(LinkInfo):
    """A new link. Only this reply contains `token`."""

    token: str


class ListLinksRequest(CanvasRequest):
    """`limit` is the number of links on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class LinkPage(ReplyModel):
    items: list[LinkInfo]
    next: str | None = None


class EndLinkRequest(CanvasRequest):
    link_id: Annotated[Identifier, Field(examples=["5d0f8a43-7c1e-4b7f-9d0a-3e2c1b0a9f8e"])]


class CheckLinkRequest(RequestModel):
    token: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LINK_TOKEN_CHARACTERS)]


class CheckedLink(ReplyModel):
    """The link of a token. `expires_at` is in Unix seconds, or None for a link that never expires."""

    id: str
    canvas_id: str
    expires_at: float | None
    created_by: str | None = None


CREATE_LINK = Operation(
    subject="svgx.state.link.create",
    summary="Create a share link; only this reply contains its token",
    request=CreateLinkRequest,
    reply=NewLink,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("POST", "/runtime/canvases/{canvas_id}/links/", status=201),
    rate=RateClass.WRITE,
    secret=True,
    errors=(Conflict, Invalid, NotFound),
)
LIST_LINKS = Operation(
    subject="svgx.state.link.list",
    summary="List the live share links of a canvas, newest first",
    request=ListLinksRequest,
    reply=LinkPage,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("GET", "/runtime/canvases/{canvas_id}/links/"),
    repeatable=True,
    errors=(NotFound,),
)
END_LINK = Operation(
    subject="svgx.state.link.end",
    summary="Revoke a share link; connections that it admitted are closed",
    request=EndLinkRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    http=Http("DELETE", "/runtime/canvases/{canvas_id}/links/{link_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
CHECK_LINK = Operation(
    subject="svgx.state.link.check",
    summary="Get the share link of a token",
    request=CheckLinkRequest,
    reply=CheckedLink,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=5.0,
    repeatable=True,
    errors=(Unauthenticated,),
)
