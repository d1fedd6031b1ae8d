"""Live canvases: models and operations of the collab service."""

from svgx_common.contract.errors import Invalid, NotFound, TooLarge, Unavailable, UnsupportedMedia
from svgx_common.contract.operation import Http, Identifier, Operation, RawRequest, ReplyModel
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest


class Opened(ReplyModel):
    """`epoch` names this holding of the canvas: a new holder has a new epoch."""

    epoch: str


class ImportSvgRequest(RawRequest):
    canvas_id: Identifier


class Dropped(ReplyModel):
    """Something of the file that the SVG policy does not let in, and how often it occurred."""

    what: str
    reason: str
    count: int


class Imported(ReplyModel):
    """`elements` counts the elements and texts the canvas has now; `revision` is the commit that saved them."""

    elements: int
    revision: int
    dropped: list[Dropped]


OPEN = Operation(
    subject="svgx.collab.open",
    summary="Make sure that a replica holds this canvas",
    request=CanvasRequest,
    reply=Opened,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    timeout=30.0,
    errors=(NotFound, Unavailable),
)
IMPORT_SVG = Operation(
    subject="svgx.collab.import",
    summary="Make an SVG file the content; live clients see it as an edit",
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
