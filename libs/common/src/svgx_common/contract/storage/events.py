"""Domain events: facts about canvases, accounts and backups, for programs outside the system.

A service writes an event into its outbox in the transaction of the change. A relay publishes the event on NATS, and the
state service delivers it at least once to each webhook that selects its type. Events of one entity keep their order.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from svgx_common.contract.operation import (
    Channel,
    Empty,
    Operation,
    ReplyModel,
    RequestModel,
    ServiceName,
)
from svgx_common.contract.policy import CanvasRole, RateClass, Role, Scope


class EventData(BaseModel):
    """The content of an event. Each subclass with a `type` is one type of event.

    `type` is the name of the type, `service` the service that writes the events, and `entity` the field with the id of
    the entity.
    """

    model_config = ConfigDict(frozen=True)

    type: ClassVar[str]
    service: ClassVar[ServiceName] = "state"
    entity: ClassVar[str] = "canvas_id"

    @property
    def entity_id(self) -> str:
        """Return the id of the entity. Events of one entity keep their order."""
        return str(getattr(self, self.entity))


class CanvasCreated(EventData):
    """A canvas was created."""

    type: ClassVar[str] = "canvas.created"
    canvas_id: str
    name: str


class CanvasRenamed(EventData):
    """The name of a canvas was set."""

    type: ClassVar[str] = "canvas.renamed"
    canvas_id: str
    name: str


class CanvasDeleted(EventData):
    """A canvas was deleted; its content is kept and can be restored."""

    type: ClassVar[str] = "canvas.deleted"
    canvas_id: str


class CanvasRestored(EventData):
    """A deleted canvas was restored."""

    type: ClassVar[str] = "canvas.restored"
    canvas_id: str


class CanvasPurged(EventData):
    """The content of a deleted canvas was removed for good."""

    type: ClassVar[str] = "canvas.purged"
    canvas_id: str


class MemberChanged(EventData):
    """The role of a member of a canvas was set, or the member was removed. `role` is null for a removed member."""

    type: ClassVar[str] = "member.changed"
    canvas_id: str
    user_id: str
    role: CanvasRole | None


class LinkCreated(EventData):
    """A share link of a canvas was created."""

    type: ClassVar[str] = "link.created"
    canvas_id: str
    link_id: str
    role: CanvasRole


class LinkRevoked(EventData):
    """A share link of a canvas was revoked."""

    type: ClassVar[str] = "link.revoked"
    canvas_id: str
    link_id: str


class VersionCreated(EventData):
    """A version of a canvas was stored. `name` is null if no user named the version."""

    type: ClassVar[str] = "version.created"
    canvas_id: str
    version_id: str
    revision: int
    name: str | None


class VersionRestored(EventData):
    """An edit replaced the content of a canvas by that of an earlier version. `revision` is the edit's revision."""

    type: ClassVar[str] = "version.restored"
    canvas_id: str
    version_id: str
    revision: int


class BackupCompleted(EventData):
    """A backup was completed."""

    type: ClassVar[str] = "backup.completed"
    entity: ClassVar[str] = "backup_id"
    backup_id: str
    canvases: int
    size_bytes: int


class BackupFailed(EventData):
    """A backup failed. `reason` is the error in the backup's record."""

    type: ClassVar[str] = "backup.failed"
    entity: ClassVar[str] = "backup_id"
    backup_id: str
    reason: str


class RestoreCompleted(EventData):
    """A backup was restored. `status` is `complete`, or `partial` if some canvases or users were not restored."""

    type: ClassVar[str] = "restore.completed"
    entity: ClassVar[str] = "backup_id"
    backup_id: str
    status: str
    canvases: int


class RestoreFailed(EventData):
    """The restore of a backup failed, or was refused because the backup did not pass its verification.

    `reason` is the beginning of the error in the restore's record. The record may also name refused accounts.
    """

    type: ClassVar[str] = "restore.failed"
    entity: ClassVar[str] = "backup_id"
    backup_id: str
    reason: str


class UserEvent(EventData):
    """An event of an account. It has no username and no e-mail address, because receivers keep events."""

    service: ClassVar[ServiceName] = "auth"
    entity: ClassVar[str] = "user_id"
    user_id: str


class UserCreated(UserEvent):
    """An account was created."""

    type: ClassVar[str] = "user.created"
    role: Role


class UserUpdated(UserEvent):
    """An account's username, e-mail address, role or password was changed, or the account was disabled or enabled.

    A request that changes none of these causes no event. Nor does a user's change of their own password.
    """

    type: ClassVar[str] = "user.updated"
    role: Role
    disabled: bool


class UserDeleted(UserEvent):
    """An account was deleted; it can be restored."""

    type: ClassVar[str] = "user.deleted"


class UserRestored(UserEvent):
    """A deleted account was restored."""

    type: ClassVar[str] = "user.restored"


class UserErased(UserEvent):
    """The erasure of an account's personal data has begun. Receivers must erase their own data about the account."""

    type: ClassVar[str] = "user.erased"


class WebhookTest(EventData):
    """A test of one webhook, sent only to this webhook when an admin asks for it."""

    type: ClassVar[str] = "webhook.test"
    entity: ClassVar[str] = "webhook_id"
    webhook_id: str


EVENTS: dict[str, type[EventData]] = {
    each.type: each
    for each in (
        CanvasCreated,
        CanvasRenamed,
        CanvasDeleted,
        CanvasRestored,
        CanvasPurged,
        MemberChanged,
        LinkCreated,
        LinkRevoked,
        VersionCreated,
        VersionRestored,
        BackupCompleted,
        BackupFailed,
        RestoreCompleted,
        RestoreFailed,
        UserCreated,
        UserUpdated,
        UserDeleted,
        UserRestored,
        UserErased,
    )
}
"""The types of events that are published, by name. `webhook.test` is sent to one webhook, and is not published."""

EventType = StrEnum(  # type: ignore[misc]  # mypy reads only literal members
    "EventType", {name.replace(".", "_").upper(): name for name in EVENTS}
)
"""The names of the types in `EVENTS`."""


class DomainEvent(ReplyModel):
    """A fact about one entity. It may arrive more than once; receivers must ignore an `id` that they received before.

    `actor` is the id of the account that made the change, or null for the system. `at` is the time of the change.
    """

    id: str
    type: str
    service: str
    entity_id: str
    at: datetime
    actor: str | None = None
    data: dict[str, Any]


def _channel(data: type[EventData]) -> Channel[Any]:
    name = "".join(part.title() for part in data.type.split("."))
    only: Any = Literal.__getitem__(data.type)
    payload = create_model(
        f"{name}Event",
        __base__=DomainEvent,
        __doc__=data.__doc__,
        type=(only, ...),
        data=(data, ...),
    )
    return Channel(
        subject=f"svgx.events.{data.service}.{data.type}",
        summary=f"A domain event. {(data.__doc__ or '').splitlines()[0]}",
        publishers=(data.service,),
        # Only the operator's own programs subscribe, with NATS users of their own.
        subscribers=(),
        payload=payload,
    )


CHANNELS: tuple[Channel[Any], ...] = tuple(map(_channel, EVENTS.values()))
"""One channel for each type in `EVENTS`."""

CHANNEL_OF: dict[str, Channel[Any]] = dict(zip(EVENTS, CHANNELS, strict=True))


class RecordEventsRequest(RequestModel):
    """Events of another service, in their order. State records each id once."""

    events: list[DomainEvent] = Field(max_length=200)


RECORD_EVENTS = Operation(
    subject="svgx.state.events.record",
    summary="Record the events of another service, and deliver them to webhooks",
    request=RecordEventsRequest,
    reply=Empty,
    scope=Scope.INTERNAL,
    callers=("auth",),
    rate=RateClass.INTERNAL,
    timeout=10.0,
    max_body=1024 * 1024,
    repeatable=True,
)
