"""Live canvases: models, operations and channels of the collab service."""

from pydantic import Field

from svgx_common.contract.errors import (
    Invalid,
    NotFound,
    QuotaExceeded,
    QuotaFull,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnsupportedMedia,
)
from svgx_common.contract.operation import (
    Channel,
    Http,
    Operation,
    RawRequest,
    ReplyModel,
    UserId,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasId, CanvasRequest
from svgx_yjs.record import record

EVENTS_PATH = "/runtime/events/{canvas_id}"
"""The path of the gateway's WebSockets."""

HOCUSPOCUS_PATH = "/runtime/hocuspocus"
"""The path of the gateway's WebSockets for Hocuspocus clients. Each message names its canvas."""


class Opened(ReplyModel):
    """`epoch` identifies the room of the replica that holds the canvas. Each new room has a new epoch."""

    epoch: str


class ReplaceContentRequest(RawRequest):
    """`content` is one Yjs v1 update with the wanted content. `author` is the id of the edit's author."""

    canvas_id: CanvasId
    author: UserId


class Replaced(ReplyModel):
    """`revision` is the revision of the edit's commit. If nothing had to change, it is the canvas's revision.

    `changed` is False if nothing had to change. `was_repeated` is True if the edit was sent to the holder again: it may
    have been committed before `revision`. The reply of a collab replica of an earlier version lacks these fields.
    """

    revision: int
    changed: bool = True
    was_repeated: bool = False


SVG_EXAMPLE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    '<circle cx="50" cy="50" r="40" fill="teal"/></svg>'
)


class ImportSvgRequest(RawRequest):
    """`charset` is the parameter of this name in the Content-Type."""

    canvas_id: CanvasId
    content: bytes = Field(default=b"", exclude=True, examples=[SVG_EXAMPLE])
    charset: str | None = None


class Dropped(ReplyModel):
    """A kind of content that the SVG policy removed from the file, with the reason and the number of occurrences."""

    what: str
    reason: str
    count: int


class Imported(ReplyModel):
    """`elements` counts the elements and texts after the import; `revision` is the revision of the import's commit."""

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
    # A second replica refuses while the first one opens the canvas.
    repeatable=True,
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
    writes_content=True,
    errors=(NotFound, Invalid, TooLarge, UnsupportedMedia, QuotaExceeded, QuotaFull),
)
REPLACE_CONTENT = Operation(
    subject="svgx.collab.replace",
    summary="Replace a canvas's content with that of a Yjs state, as one edit; live clients receive the edit",
    request=ReplaceContentRequest,
    reply=Replaced,
    scope=Scope.INTERNAL,
    callers=("state",),
    rate=RateClass.INTERNAL,
    timeout=60.0,
    max_body=128 * 1024 * 1024,
    errors=(NotFound, Invalid, TooLarge, TooManyRequests),
)


@record
class Edit:
    """An update by one author. `update` is a Yjs v1 update, `author` the id of the user."""

    author: str
    update: bytes


@record
class EditBatch:
    """Edits of one canvas, in the order in which the gateway received them."""

    edits: tuple[Edit, ...]


@record
class Saved:
    """The holder's answer to a batch after the batch's commit.

    `rejected` has one number for each rejected edit of the batch (see `Rejection.pack`).
    """

    revision: int
    rejected: tuple[int, ...]
    epoch: str
    """The epoch of the holder that committed the edits."""


@record
class SyncRequest:
    """The state vector of a peer. With None, the holder answers with its own state vector and no update."""

    state_vector: bytes | None


@record
class SyncReply:
    """The holder's answer to a state vector. `update` has all content that the peer lacks.

    It includes the broadcasts of `epoch` up to `sequence`. `state_vector` is the holder's own. `awareness` is an
    awareness update with all known states.
    """

    epoch: str
    sequence: int
    state_vector: bytes
    update: bytes
    awareness: bytes


@record
class AuthoredState:
    """The awareness state of a client (see `svgx_yjs.awareness.State`), and the id of the client's user."""

    author: str
    client: int
    clock: int
    json: str
    may_edit: int
    """1 if the user may edit the canvas, else 0."""


@record
class Broadcast:
    """A merged update of a canvas, sent by its holder to the gateways.

    `epoch` identifies the room. `sequence` counts from 1 within the epoch; a gap means that a broadcast was missed. A
    new room announces itself with the sequence 0.
    """

    epoch: str
    sequence: int
    update: bytes


@record
class Presence:
    """A merged awareness update, broadcast by the holder. `epoch` identifies the room that sent it."""

    epoch: str
    update: bytes


CANVAS_EDIT = Channel(
    subject="svgx.canvas.{canvas_id}.edit",
    summary="A batch of edits for the holder, which answers after it has committed them",
    # Collab sends imports as edits to the holder, which may be another replica.
    publishers=("gateway", "collab"),
    subscribers=("collab",),
    payload=EditBatch,
    reply=Saved,
)
CANVAS_SYNC = Channel(
    subject="svgx.canvas.{canvas_id}.sync",
    summary="A state vector for the holder, which answers with the content that the sender lacks",
    publishers=("gateway", "collab"),
    subscribers=("collab",),
    payload=SyncRequest,
    reply=SyncReply,
)
CANVAS_AWARENESS = Channel(
    subject="svgx.canvas.{canvas_id}.awareness",
    summary="An awareness state of one client, for the holder",
    publishers=("gateway",),
    subscribers=("collab",),
    payload=AuthoredState,
)
CANVAS_UPDATE = Channel(
    subject="svgx.canvas.{canvas_id}.update",
    summary="The holder's broadcast of a merged update, with its epoch and sequence number",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=Broadcast,
)
CANVAS_PRESENCE = Channel(
    subject="svgx.canvas.{canvas_id}.presence",
    summary="The holder's broadcast of awareness states",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=Presence,
)


def new_epoch(replica_id: str, token: str) -> str:
    """Return the epoch of a new room: the id of the replica, and a token that tells the replica's rooms apart."""
    return f"{replica_id}.{token}"


def replica_of(epoch: str) -> str | None:
    """Return the id of the replica that an epoch contains (see `new_epoch`), or None if the epoch contains no id."""
    return epoch.rpartition(".")[0] or None


@record
class LinkBatch:
    """Edits of one canvas in a message of a link. `number` identifies the batch on the gateway."""

    canvas_id: str
    number: int
    edits: tuple[Edit, ...]


@record
class LinkState:
    """The awareness state of one client of the canvas `canvas_id`."""

    canvas_id: str
    state: AuthoredState


@record
class LinkToReplica:
    """One gateway's edits and awareness states for canvases that a replica holds."""

    gateway: str
    batches: tuple[LinkBatch, ...]
    states: tuple[LinkState, ...]


@record
class LinkBroadcast:
    """A broadcast of one canvas (see `Broadcast`)."""

    canvas_id: str
    epoch: str
    sequence: int
    update: bytes


@record
class LinkPresence:
    """The presence of one canvas (see `Presence`)."""

    canvas_id: str
    update: bytes


@record
class LinkReceipt:
    """The receipt of the batch `number`, after its commit. `rejected` is as in `Saved`."""

    number: int
    rejected: tuple[int, ...]
    epoch: str
    """The epoch of the holder that committed the edits."""


@record
class LinkRefusal:
    """The batch `number` was refused. The gateway sends the batch again as a request.

    `same_holder` is 1 if the gateway may send the request to the same replica. If it is 0, the gateway looks for the
    holder first.
    """

    number: int
    same_holder: int


@record
class LinkToGateway:
    """One replica's broadcasts, presence, receipts and refusals for one gateway. They concern many canvases."""

    broadcasts: tuple[LinkBroadcast, ...]
    presence: tuple[LinkPresence, ...]
    receipts: tuple[LinkReceipt, ...]
    refusals: tuple[LinkRefusal, ...]


LINK_TO_REPLICA = Channel(
    subject="svgx.link.collab.{replica_id}",
    summary="Edits and awareness states of many canvases, from one gateway to the replica that holds them",
    publishers=("gateway",),
    subscribers=("collab",),
    payload=LinkToReplica,
)
LINK_TO_GATEWAY = Channel(
    subject="svgx.link.gateway.{gateway_id}",
    summary="Broadcasts, presence and receipts of many canvases, from their holder to one gateway",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=LinkToGateway,
)


class ReplicaLoad(ReplyModel):
    """The load of a replica: the number of canvases that it holds plus its edits a second.

    A replica with `is_reserved` takes only canvases that other replicas hand over to it. With `is_free`, such a replica
    has no canvas and can take one.
    """

    replica: str
    load: float
    is_reserved: bool = False
    is_free: bool = False


REPLICA_LOAD = Channel(
    subject="svgx.replicas.load",
    summary="The load of a replica of collab. A replica with more load than the others declines to open canvases",
    publishers=("collab",),
    subscribers=("collab",),
    payload=ReplicaLoad,
)
TAKE_CANVAS = Channel(
    subject="svgx.collab.take.{replica_id}",
    summary="A request to a reserved replica of collab to open a busy canvas, which the sender no longer holds",
    publishers=("collab",),
    subscribers=("collab",),
    payload=CanvasRequest,
    reply=Opened,
)


@record
class LateCommits:
    """The newest revision of a canvas at which a replica has committed edits after it had lost the canvas's lease."""

    canvas_id: str
    revision: int


LATE_COMMITS = Channel(
    subject="svgx.replicas.late_commits",
    summary="A replica of collab has committed edits of a canvas that another replica holds. The holder loads them",
    publishers=("collab",),
    subscribers=("collab",),
    payload=LateCommits,
)
