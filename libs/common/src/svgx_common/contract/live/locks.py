"""Locks of objects on a canvas: models and operations.

A lock tells other editors that an account works on an object. It is advice: a Yjs client can still edit the object,
because edits merge.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from svgx_common.contract.errors import Conflict, NotFound, Unavailable
from svgx_common.contract.operation import Channel, Http, Operation, ReplyModel
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest

MAX_LOCKS = 1000
"""Largest number of locks on a canvas. The list has 190 KB then, and 440 KB with the longest ids of objects."""

MAX_LOCK_SECONDS = 300
"""Longest lifetime of a lock that is not renewed, in seconds."""

LockSeconds = Annotated[int, Field(ge=1, le=MAX_LOCK_SECONDS)]
"""The lifetime of a lock from the request on, in seconds."""

DEFAULT_LOCK_SECONDS = 30
"""The lifetime of a lock if the request names none, in seconds."""

ObjectId = Annotated[str, StringConstraints(min_length=1, max_length=256), Field(examples=["roof"])]
"""The id of the locked object: usually of an element, but clients can choose any text."""


class LockRequest(CanvasRequest):
    """`seconds` is the lifetime of the lock from now on. A second request of the same account renews the lock."""

    object_id: ObjectId
    seconds: LockSeconds = DEFAULT_LOCK_SECONDS


class UnlockRequest(CanvasRequest):
    """The caller releases its lock of this object."""

    object_id: ObjectId


class LockStatusRequest(CanvasRequest):
    """Without `object_id`, the answer has all locks of the canvas."""

    object_id: ObjectId | None = None


class ObjectLock(ReplyModel):
    """A lock. `user_id` is the id of its account, or, for visitors of a share link, `link-` and the link's id."""

    object_id: str
    user_id: str
    username: str
    acquired_at: datetime
    expires_at: datetime


class Unlocked(ReplyModel):
    """`released` is false if the object had no lock any more."""

    released: bool


class ObjectLocks(ReplyModel):
    """The locks that have not expired, in the order of their objects' ids."""

    items: list[ObjectLock]


class LockChange(ReplyModel):
    """A lock that an account has got, renewed or released.

    `lock` is the new lock; None after a release. `user_id` is the id of the account.
    """

    object_id: str
    user_id: str
    lock: ObjectLock | None


CANVAS_LOCKS = Channel(
    subject="svgx.canvas.{canvas_id}.locks",
    summary="A lock of an object of the canvas is new, renewed or released",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=LockChange,
)
LOCK_OBJECT = Operation(
    subject="svgx.collab.locks.lock",
    summary="Lock an object of a canvas for a time, or renew the lock",
    request=LockRequest,
    reply=ObjectLock,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http("POST", "/runtime/lock/"),
    rate=RateClass.WRITE,
    outside=True,
    errors=(NotFound, Conflict, Unavailable),
)
UNLOCK_OBJECT = Operation(
    subject="svgx.collab.locks.unlock",
    summary="Release the caller's lock of an object",
    request=UnlockRequest,
    reply=Unlocked,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http("POST", "/runtime/unlock/"),
    rate=RateClass.WRITE,
    outside=True,
    errors=(NotFound, Conflict, Unavailable),
)
LOCK_STATUS = Operation(
    subject="svgx.collab.locks.list",
    summary="Show the locks of a canvas, or of one of its objects",
    request=LockStatusRequest,
    reply=ObjectLocks,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.VIEWER,
    http=Http("GET", "/runtime/lock-status/"),
    outside=True,
    repeatable=True,
    errors=(NotFound, Unavailable),
)
