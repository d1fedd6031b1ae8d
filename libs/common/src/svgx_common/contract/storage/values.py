"""Values that clients store under keys, such as preferences and sessions: models and operations of state."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
    VersionConflict,
)
from svgx_common.contract.fields import patterns
from svgx_common.contract.operation import (
    Blob,
    Channel,
    Count,
    Empty,
    Http,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    UserId,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.storage.canvas_content import CanvasContent

MAX_DEPTH = 32
"""The most levels of lists and objects in a value."""

MAX_VALUE_BYTES = 256 * 1024
"""The highest limit that a state type may set for the size of a value as compact JSON in UTF-8, in bytes."""

MAX_METADATA_BYTES = 4096
"""Largest size of a value's metadata as compact JSON in UTF-8, in bytes."""

CANVAS_PREFIX = "canvas_state_"
"""The prefix of keys that stand for canvases. A value cannot have such a key."""

DEFAULT_TYPE = "general"
"""The state type of a value without a stated type."""


def compact_json(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _check_key(key: str) -> str:
    if key.startswith(CANVAS_PREFIX):
        raise ValueError(
            f"keys that start with {CANVAS_PREFIX} stand for canvases: read them with "
            f"GET /state/retrieve/{CANVAS_PREFIX}{{canvas_id}}, and edit the canvas to change them"
        )
    return key


def _containers(items: Iterable[Any]) -> list[Any]:
    return [item for item in items if isinstance(item, (dict, list))]


def _check_json(value: Any) -> Any:
    """Return the value. Raise `ValueError` if JSON cannot represent it, or if it is nested too deeply."""
    level, depth = _containers([value]), 0
    while level:
        if depth == MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for container in level:
            below += container.values() if isinstance(container, dict) else container
        level, depth = _containers(below), depth + 1
    try:
        compact_json(value).encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair, which is not Unicode text") from None
    except ValueError:
        raise ValueError("has a number that is too large, or NaN") from None
    return value


def _check_metadata(metadata: Any) -> Any:
    if len(compact_json(metadata).encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"has more than {MAX_METADATA_BYTES} bytes as JSON")
    return metadata


Key = Annotated[
    str,
    # A key has no slash, and does not begin with a dot, because clients and proxies change such paths.
    StringConstraints(pattern=patterns.VALUE_KEY),
    AfterValidator(_check_key),
    Field(examples=["editor.preferences"]),
]

KeyPrefix = Annotated[str, StringConstraints(pattern=patterns.VALUE_KEY_PREFIX)]

StateType = Annotated[str, StringConstraints(pattern=patterns.STATE_TYPE)]
"""The name of a state type. The state service's configuration sets the type's backend, size limit and time to live."""

Json = Annotated[JsonValue, AfterValidator(_check_json)]

Metadata = Annotated[
    dict[str, JsonValue], AfterValidator(_check_json), AfterValidator(_check_metadata)
]


class PersistRequest(RequestModel):
    """`version` is the stored version that the caller has read, or 0 for a new key.

    Without `version`, the value replaces any stored version.

    Admins may name another account as `user_id`.
    """

    key: Key
    value: Annotated[Json, Field(examples=[{"grid": True, "snap": 8}])]
    state_type: StateType = DEFAULT_TYPE
    version: Count | None = None
    metadata: Metadata = Field(default_factory=dict)
    user_id: UserId | None = None


class ValueRequest(RequestModel):
    """Without `state_type`, the caller's values of all types are searched, and then the shared values.

    Admins may name another account as `user_id`. With `user_id`, shared values are not searched.
    """

    key: Key
    state_type: StateType | None = None
    user_id: UserId | None = None


class DeleteValueRequest(ValueRequest):
    """Without `state_type`, the caller's values of all types are searched.

    `version` is the stored version that the caller has read. Without `version`, any version is deleted.
    """

    version: Count | None = None


class ListValuesRequest(RequestModel):
    """`prefix` selects keys that start with this text. Admins may name another account as `user_id`."""

    state_type: StateType = DEFAULT_TYPE
    prefix: KeyPrefix = ""
    user_id: UserId | None = None
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class ValueEntry(ReplyModel):
    """A stored value without its content.

    Each write of a key raises its version. Versions of one key never repeat, even after the key was deleted or expired.
    """

    key: str
    state_type: str
    version: int
    updated_at: datetime
    expires_at: datetime | None = None


class Value(ValueEntry):
    """A stored value."""

    value: JsonValue
    metadata: dict[str, JsonValue]


class CanvasValue(ValueEntry):
    """The content of a canvas as a value. `version` is its revision, and `metadata` has the name of the canvas."""

    value: CanvasContent
    metadata: dict[str, JsonValue]


class ValuePage(ReplyModel):
    items: list[ValueEntry]
    next: str | None = None


ALL_KEYS = "*"
"""Stands for all keys of an owner. No key has this character."""


class ValueChanged(ReplyModel):
    """A key of the account `owner`, after its value was written or deleted. `owner` is `*` for shared values.

    `key` is `ALL_KEYS` after all values of the owner were erased.
    """

    owner: str
    key: str


# The operations on values have `outside`, because an unreachable backend, such as Redis, must not open the circuit
# breaker of the service's other operations.

PERSIST_VALUE = Operation(
    subject="svgx.state.value.persist",
    summary="Store a JSON value under a key of the caller",
    request=PersistRequest,
    reply=ValueEntry,
    scope=Scope.SIGNED_IN,
    http=Http("POST", "/state/persist/"),
    rate=RateClass.WRITE,
    max_body=MAX_VALUE_BYTES * 2,
    outside=True,
    reaches_others=True,
    errors=(Conflict, VersionConflict, Forbidden, Unavailable),
)
RETRIEVE_CANVAS = Operation(
    subject="svgx.state.value.canvas",
    summary="Read the saved content of a canvas as a value with element JSON",
    request=CanvasRequest,
    reply=Blob,
    json_reply=CanvasValue,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http(
        "GET",
        f"/state/retrieve/{CANVAS_PREFIX}{{canvas_id}}",
        produces=("application/json",),
    ),
    rate=RateClass.HEAVY,
    timeout=60.0,
    errors=(NotFound, Invalid, TooLarge, TooManyRequests),
)
RETRIEVE_VALUE = Operation(
    subject="svgx.state.value.retrieve",
    summary="Read the value of a key",
    request=ValueRequest,
    reply=Value,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/state/retrieve/{key}"),
    repeatable=True,
    outside=True,
    reaches_others=True,
    errors=(NotFound, Forbidden, Unavailable),
)
DELETE_VALUE = Operation(
    subject="svgx.state.value.delete",
    summary="Delete the value of a key",
    request=DeleteValueRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    http=Http("DELETE", "/state/retrieve/{key}", status=204),
    rate=RateClass.WRITE,
    outside=True,
    reaches_others=True,
    errors=(NotFound, VersionConflict, Forbidden, Unavailable),
)
LIST_VALUES = Operation(
    subject="svgx.state.value.list",
    summary="List the caller's keys of one state type, sorted by key",
    request=ListValuesRequest,
    reply=ValuePage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/state/values/"),
    repeatable=True,
    outside=True,
    reaches_others=True,
    errors=(Forbidden, Unavailable),
)

VALUE_CHANGED = Channel(
    subject="svgx.state.value.changed",
    summary="State's broadcast: the value of a key has changed, so replicas remove it from their caches",
    publishers=("state",),
    subscribers=("state",),
    payload=ValueChanged,
)
