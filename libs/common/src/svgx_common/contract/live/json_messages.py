"""The messages of `/runtime/events`: JSON clients edit a canvas, and follow the edits and the presence of others.

Each message is a JSON object in a text frame. `type` names its kind. The server leaves out fields without a value.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field, StringConstraints

from svgx_common.contract.live.element_changes import MAX_OPERATIONS, ElementChange, UndoGroup
from svgx_common.contract.live.locks import DEFAULT_LOCK_SECONDS, LockSeconds, ObjectId, ObjectLock
from svgx_common.contract.operation import ReplyModel, RequestModel
from svgx_common.contract.storage.canvas_content import CanvasElement

JSON_EVENTS_PATH = "/runtime/events"
"""The path of the WebSocket for JSON clients. The query names the canvas."""

MAX_ACTIVITY_BYTES = 16 * 1024
"""Largest activity of a client, in bytes of JSON."""

MessageId = Annotated[str, StringConstraints(max_length=128)]
"""A text that a client chooses for one of its messages. The answers to the message repeat it."""


class Handshake(RequestModel):
    """The first message of a client. The server answers `handshake_ack`."""

    type: Literal["handshake"]


class EditOperation(RequestModel):
    """Changes of elements, as one edit. The server answers `saved` after the commit, or `error`.

    Edits of an account with the same `undo_group`, one directly after the other, are undone together.
    """

    type: Literal["edit_operation"]
    id: MessageId | None = None
    operations: Annotated[list[ElementChange], Field(min_length=1, max_length=MAX_OPERATIONS)]
    undo_group: UndoGroup | None = None


class RequestLock(RequestModel):
    """Lock an object, or renew the lock. The server answers `lock_acquired`, `lock_denied` or `error`.

    An account may send 200 `lock_request` and `lock_release` at once, and 20 a second in the long run. Further messages
    wait.
    """

    type: Literal["lock_request"]
    id: MessageId | None = None
    object_id: ObjectId
    seconds: LockSeconds = DEFAULT_LOCK_SECONDS


class ReleaseLock(RequestModel):
    """Release a lock of the client's account. The server answers `lock_released`, `lock_denied` or `error`."""

    type: Literal["lock_release"]
    id: MessageId | None = None
    object_id: ObjectId


class ReportActivity(RequestModel):
    """The client's cursor, selection or other presence, as any JSON object. It replaces the activity before."""

    type: Literal["user_activity"]
    activity: Mapping[str, Any]


class Ping(RequestModel):
    """A question that the server answers with `pong`."""

    type: Literal["ping"]
    id: MessageId | None = None


class RenewToken(RequestModel):
    """A fresh access token of the same account, which replaces the token of the connection."""

    type: Literal["token"]
    token: str


ClientMessage = (
    Handshake | EditOperation | RequestLock | ReleaseLock | ReportActivity | Ping | RenewToken
)

CLIENT_MESSAGES: Mapping[str, type[ClientMessage]] = {
    "handshake": Handshake,
    "edit_operation": EditOperation,
    "lock_request": RequestLock,
    "lock_release": ReleaseLock,
    "user_activity": ReportActivity,
    "ping": Ping,
    "token": RenewToken,
}
"""The model of each type of a client's messages."""


def _require_constants(schema: dict[str, Any]) -> None:
    """Make the constants of a schema required, because the server sends them in each message."""
    constants = [name for name, field in schema["properties"].items() if "const" in field]
    for name in constants:
        del schema["properties"][name]["default"]
    schema["required"] = [*constants, *schema.get("required", [])]


class SentModel(ReplyModel):
    """The base of the server's messages and of their parts. A field that may have no value has the default None."""

    model_config = ConfigDict(json_schema_extra=_require_constants)


class PresentClient(SentModel):
    """A client that is present on the canvas. `state` is its awareness state.

    In the state of a JSON client, the gateway sets the id and the name in `user`. A visitor with a share link chooses
    the name by itself, in `user` of its activity. A Yjs client writes its whole state by itself, so its state may name
    any user.
    """

    client: int
    state: Any


class HandshakeAccepted(SentModel):
    """The answer to `handshake`.

    The JSON export of the canvas has at least all edits up to `revision`. All later changes follow as `edit_operation`.
    `client` is the id of this client among the members, and `session_id` repeats the first 128 characters of the
    query's. `locks` is missing while the locks cannot be read.
    """

    type: Literal["handshake_ack"] = "handshake_ack"
    canvas_id: str
    session_id: str | None = None
    client: int
    user_id: str
    role: str
    revision: int
    members: list[PresentClient]
    locks: list[ObjectLock] | None = None


class PutElement(SentModel, CanvasElement):
    """An element that is new or has changed, as a whole. It has the fields of the JSON export.

    A client keeps an element without an existing parent, and does not show it, because the parent may come later.
    """

    op: Literal["put"] = "put"


class RemoveElement(SentModel):
    """An element that no longer exists. The same is true of its descendants."""

    op: Literal["delete"] = "delete"
    id: str


class PutRoot(SentModel):
    """All attributes of the root element, after a change."""

    op: Literal["root"] = "root"
    attrs: dict[str, str]


class ElementsEdited(SentModel):
    """Changes of elements by any client, also by this one.

    The root comes first, then the elements in the order of their ids, and then the deletions in this order.
    """

    type: Literal["edit_operation"] = "edit_operation"
    operations: list[PutElement | RemoveElement | PutRoot]


class Reload(SentModel):
    """The client may lack changes, and must load the JSON export again. The export has all edits up to `revision`."""

    type: Literal["reload"] = "reload"
    revision: int


class EditSaved(SentModel):
    """The client's edit is committed. `created` has the ids of its new elements, in the order of the operations."""

    type: Literal["saved"] = "saved"
    id: str | None = None
    revision: int
    created: list[str]


class LockAcquired(SentModel):
    """An account has locked an object, or renewed its lock. Only the answer to a request of this client has an `id`.

    All clients also get the event without an `id`.
    """

    type: Literal["lock_acquired"] = "lock_acquired"
    id: str | None = None
    lock: ObjectLock


class LockReleased(SentModel):
    """An account has released an object. Only the answer to a request of this client has an `id`.

    All clients also get the event without an `id`. A lock that expires is not announced.
    """

    type: Literal["lock_released"] = "lock_released"
    id: str | None = None
    object_id: str
    user_id: str


class LockDenied(SentModel):
    """Another account has the lock, or the canvas has too many locks."""

    type: Literal["lock_denied"] = "lock_denied"
    id: str | None = None
    object_id: str
    detail: str
    retry_after: float | None = None


class UserJoined(PresentClient):
    """A client has come to the canvas."""

    type: Literal["user_joined"] = "user_joined"


class UserActivity(PresentClient):
    """A client that is present has a new state."""

    type: Literal["user_activity"] = "user_activity"


class UserLeft(SentModel):
    """A client has left the canvas."""

    type: Literal["user_left"] = "user_left"
    client: int


class RoleChanged(SentModel):
    """The client's role on the canvas has changed."""

    type: Literal["role"] = "role"
    role: str


class TokenExpires(SentModel):
    """The token of the connection expires in so many seconds. The client should send a fresh one."""

    type: Literal["token_expires"] = "token_expires"
    seconds: int


class Pong(SentModel):
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"
    id: str | None = None


class MessageFailed(SentModel):
    """A message had no effect. `code` and the other fields are those of the HTTP interface's errors."""

    type: Literal["error"] = "error"
    id: str | None = None
    code: str
    detail: str
    field: str | None = None
    limit: int | float | str | None = None
    retry_after: float | None = None


ServerMessage: TypeAlias = (
    HandshakeAccepted
    | ElementsEdited
    | Reload
    | EditSaved
    | LockAcquired
    | LockReleased
    | LockDenied
    | UserJoined
    | UserActivity
    | UserLeft
    | RoleChanged
    | TokenExpires
    | Pong
    | MessageFailed
)

SERVER_MESSAGES: tuple[type[ServerMessage], ...] = get_args(ServerMessage)
"""The models of the server's messages."""
