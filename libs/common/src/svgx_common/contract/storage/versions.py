"""The history of canvases: versions, past moments, differences and restores. The state service answers."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from svgx_common.contract.errors import (
    Conflict,
    Invalid,
    NotFound,
    QuotaExceeded,
    QuotaFull,
    TooLarge,
    TooManyRequests,
)
from svgx_common.contract.operation import (
    Blob,
    Empty,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    Timestamp,
    UserId,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasName, CanvasRequest

VersionId = Annotated[Identifier, Field(examples=["7c0e9c1e-5a43-4a0b-9c59-0d3f5b1a2c3d"])]

VersionName = Annotated[CanvasName, Field(examples=["Before the review"])]

NOW = "now"
"""The word that a request may have in place of a version's id. It stands for the present saved content."""


class VersionKind(StrEnum):
    """The reason why a version was made. Renaming a version does not change its kind."""

    AUTOMATIC = "automatic"
    NAMED = "named"
    BEFORE_RESTORE = "before_restore"
    BEFORE_IMPORT = "before_import"


class Version(ReplyModel):
    """A kept state of a canvas: its content after the commit of `revision`. Its last edit was at `edited_at`.

    `at` is the time at which the version was made. `authors` are the ids of the users with edits since the previous
    version, at most 100. `created_by` is null for an automatic version. A version without a name is deleted after its
    retention.
    """

    id: str
    kind: VersionKind
    name: str | None
    revision: int
    at: datetime
    edited_at: datetime
    authors: list[str]
    created_by: str | None


class VersionPage(ReplyModel):
    items: list[Version]
    next: str | None = None


class ListVersionsRequest(CanvasRequest):
    """`named` selects the versions with a name, or those without one.

    `limit` is the number of versions on a page; `cursor` is the `next` value of the page before.
    """

    named: bool | None = None
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class CreateVersionRequest(CanvasRequest):
    name: VersionName


class VersionRequest(CanvasRequest):
    version_id: VersionId


class RenameVersionRequest(VersionRequest):
    name: VersionName


class Restored(ReplyModel):
    """The effect of a restore.

    `revision` is the revision of the restore's commit, or the canvas's revision if nothing had to change.

    `before` is the version that was made just before the restore. To undo the restore, restore this version.
    """

    revision: int
    before: Version


class VersionBeforeImportRequest(CanvasRequest):
    """`user_id` is the id of the user that replaces the content."""

    user_id: UserId


class MomentRequest(CanvasRequest):
    """`at` is a time from `earliest` (see `Moment`) to the present, which is the default."""

    at: Timestamp | None = None


class Moment(ReplyModel):
    """The state of a canvas at a time. `revision` was the newest revision at this time, committed at `edited_at`.

    `earliest` is the earliest time at which the canvas's content is known.
    """

    revision: int
    edited_at: datetime
    earliest: datetime


class TextChange(ReplyModel):
    """A text before and after a change; null where the text is missing.

    `cut` is true if one of the texts is longer than 1,000 characters. Only the start of a longer text is given.
    """

    before: str | None
    after: str | None
    cut: bool = False


class ChangeKind(StrEnum):
    """The kinds of changes. A `moved` element changed its place only; a `changed` element may have moved too."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"


class ElementChange(ReplyModel):
    """The change of one element. `tag` is `#text` for character data.

    `parent` (the id of the parent, "" for the root) and `order` are null if they did not change. `attrs` has the
    changed attributes, at most 50; `more_attrs` counts the others. `text` is null unless character data changed.
    """

    id: str
    change: ChangeKind
    tag: TextChange
    parent: TextChange | None
    order: TextChange | None
    attrs: dict[str, TextChange]
    more_attrs: int
    text: TextChange | None


class DiffRequest(VersionRequest):
    """`to` is the id of another version, or `now` for the present.

    `limit` is the number of changed elements on a page. A page also ends at a megabyte of changes. `cursor` is the
    `next` value of the page before.
    """

    to: Annotated[Identifier, Field(examples=[NOW])] = NOW
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class Diff(ReplyModel):
    """The changes between the contents of two revisions, as exports show them. Elements are sorted by id.

    `added`, `removed`, `changed` and `moved` count all changes, and not only those on this page. `canvas` has the
    changed attributes of the root element, at most 50; `more_canvas` counts the others.
    """

    from_revision: int
    to_revision: int
    added: int
    removed: int
    changed: int
    moved: int
    canvas: dict[str, TextChange]
    more_canvas: int = 0
    items: list[ElementChange]
    next: str | None = None


LIST_VERSIONS = Operation(
    subject="svgx.state.version.list",
    summary="List the versions of a canvas, newest first",
    request=ListVersionsRequest,
    reply=VersionPage,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    needs_account=True,
    http=Http("GET", "/runtime/canvases/{canvas_id}/versions/"),
    repeatable=True,
    errors=(NotFound,),
)
CREATE_VERSION = Operation(
    subject="svgx.state.version.create",
    summary="Keep the saved content under a name",
    request=CreateVersionRequest,
    reply=Version,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    needs_account=True,
    http=Http("POST", "/runtime/canvases/{canvas_id}/versions/", status=201),
    rate=RateClass.WRITE,
    errors=(NotFound, Conflict),
)
GET_VERSION = Operation(
    subject="svgx.state.version.get",
    summary="Get one version",
    request=VersionRequest,
    reply=Version,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    needs_account=True,
    http=Http("GET", "/runtime/canvases/{canvas_id}/versions/{version_id}"),
    repeatable=True,
    errors=(NotFound,),
)
RENAME_VERSION = Operation(
    subject="svgx.state.version.rename",
    summary="Name a version; a version with a name is kept until it is deleted",
    request=RenameVersionRequest,
    reply=Version,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    needs_account=True,
    http=Http("PATCH", "/runtime/canvases/{canvas_id}/versions/{version_id}"),
    rate=RateClass.WRITE,
    errors=(NotFound, Conflict),
)
DELETE_VERSION = Operation(
    subject="svgx.state.version.delete",
    summary="Delete a version; the canvas's content and the other versions stay",
    request=VersionRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.OWNER,
    needs_account=True,
    http=Http("DELETE", "/runtime/canvases/{canvas_id}/versions/{version_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
RESTORE_VERSION = Operation(
    subject="svgx.state.version.restore",
    summary="Give the canvas the content of a version, as an edit; live clients receive it",
    request=VersionRequest,
    reply=Restored,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    needs_account=True,
    http=Http("POST", "/runtime/canvases/{canvas_id}/versions/{version_id}/restore"),
    rate=RateClass.HEAVY,
    reaches_others=True,
    timeout=90.0,
    asks="collab",
    writes_content=True,
    errors=(NotFound, Invalid, TooLarge, TooManyRequests, QuotaExceeded, QuotaFull),
)
DIFF_VERSION = Operation(
    subject="svgx.state.version.diff",
    summary="List the changes from a version to another version or to the present, by element",
    request=DiffRequest,
    reply=Diff,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    needs_account=True,
    http=Http("GET", "/runtime/canvases/{canvas_id}/versions/{version_id}/diff"),
    rate=RateClass.HEAVY,
    timeout=60.0,
    errors=(NotFound, Invalid, TooLarge),
)
THUMBNAIL = Operation(
    subject="svgx.state.version.thumbnail",
    summary="Get a picture of a version: a PNG that fits into 320 by 320 pixels",
    request=VersionRequest,
    reply=Blob,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    needs_account=True,
    http=Http(
        "GET",
        "/runtime/canvases/{canvas_id}/versions/{version_id}/thumbnail",
        produces=("image/png",),
    ),
    rate=RateClass.HEAVY,
    timeout=60.0,
    errors=(NotFound, Invalid, TooLarge),
)
FIND_MOMENT = Operation(
    subject="svgx.state.canvas.moment",
    summary="Find the revision of a canvas at a time, and the earliest time that is known",
    request=MomentRequest,
    reply=Moment,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    needs_account=True,
    http=Http("GET", "/runtime/canvases/{canvas_id}/moment"),
    repeatable=True,
    errors=(NotFound, Invalid),
)
VERSION_BEFORE_IMPORT = Operation(
    subject="svgx.state.version.before_import",
    summary="Keep the saved content before an import replaces it",
    request=VersionBeforeImportRequest,
    reply=Version,
    scope=Scope.INTERNAL,
    callers=("collab",),
    rate=RateClass.INTERNAL,
    timeout=5.0,
    errors=(NotFound,),
)
