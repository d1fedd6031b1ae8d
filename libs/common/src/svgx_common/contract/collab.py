"""Live canvases: models, operations and channels of the collab service."""

from pydantic import Field

from svgx_common.contract.errors import Invalid, NotFound, TooLarge, Unavailable, UnsupportedMedia
from svgx_common.contract.operation import Channel, Http, Operation, RawRequest, ReplyModel
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasId, CanvasRequest


class Opened(ReplyModel):
    """`epoch` identifies the holder's lease of the canvas: each new holder has a new epoch."""

    epoch: str


SVG_EXAMPLE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    '<circle cx="50" cy="50" r="40" fill="teal"/></svg>'
)


class ImportSvgRequest(RawRequest):
    canvas_id: CanvasId
    content: bytes = Field(default=b"", exclude=True, examples=[SVG_EXAMPLE])


class Dropped(ReplyModel):
    """A part of the file that the SVG policy removed, the reason, and how often it occurred."""

    what: str
    reason: str
    count: int


class Imported(ReplyModel):
    """`elements` counts the elements and texts of the canvas after the import; `revision` is the import's commit."""

    elements: int
    revision: int
    dropped: list[Dropped]


OPEN = Operation(
    subject="svgx.collab.open",
    summary="Open a canvas on a replica, unless a replica holds it already",
    request=CanvasRequest,
    reply=Opened,
    scope=Scope.INTERNAL,
    callers=("gateway", "collab"),
    rate=RateClass.INTERNAL,
    timeout=30.0,
    errors=(NotFound, Unavailable),
)
IMPORT_SVG = Operation(
    subject="svgx.collab.import",
    summary="Replace the content with an SVG file; live clients receive it as an edit",
    request=ImportSvgRequest,
    reply=Imported,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http(
        "PUT",
        "/runtime/canvases/{canvas_id}/svg",
        consumes=("image/svg+xml", "application/xml", "text/xml"),
    ),
    rate=RateClass.HEAVY,
    timeout=60.0,
    max_body=16 * 1024 * 1024,
    errors=(NotFound, Invalid, TooLarge, UnsupportedMedia),
)

CANVAS_EDIT = Channel(
    subject="svgx.canvas.{canvas_id}.edit",
    summary="A batch of edits for the holder, which answers after it has committed them",
    # Collab sends imports as edits to the holder, which may be another replica.
    publishers=("gateway", "collab"),
    subscribers=("collab",),
    payload=bytes,
    codec="lib0",
    answered=True,
)
CANVAS_SYNC = Channel(
    subject="svgx.canvas.{canvas_id}.sync",
    summary="A state vector for the holder, which answers with the update that it lacks",
    publishers=("gateway", "collab"),
    subscribers=("collab",),
    payload=bytes,
    codec="lib0",
    answered=True,
)
CANVAS_AWARENESS = Channel(
    subject="svgx.canvas.{canvas_id}.awareness",
    summary="An awareness state of one client, for the holder",
    publishers=("gateway",),
    subscribers=("collab",),
    payload=bytes,
    codec="lib0",
)
CANVAS_UPDATE = Channel(
    subject="svgx.canvas.{canvas_id}.update",
    summary="The holder's broadcast of a merged update, with its epoch and sequence number",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=bytes,
    codec="lib0",
)
CANVAS_PRESENCE = Channel(
    subject="svgx.canvas.{canvas_id}.presence",
    summary="The holder's broadcast of awareness states",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=bytes,
    codec="lib0",
)
