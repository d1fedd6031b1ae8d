"""Backups of canvases and users, and their restores: models and operations of the state and auth services."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from svgx_common.contract.errors import Conflict, Invalid, NotFound, Unavailable
from svgx_common.contract.operation import (
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    UserId,
)
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.state import CanvasId

BackupId = Annotated[Identifier, Field(examples=["20260131T120000Z-1f0c9d5e"])]
"""The id of a backup: the time of its start and a random part.

In a path, `latest` is the newest complete backup of all canvases that this database has made. If it has made none,
`latest` is the newest adopted one, except in a DELETE.
"""

RestoreId = Annotated[Identifier, Field(examples=["20260131T123000Z-a1b2c3d4"])]


class StateType(StrEnum):
    """The kind of data that a backup contains. This is not its status."""

    CANVAS = "canvas"
    USERS = "users"
    ALL = "all"


class BackupType(StrEnum):
    """A full backup needs no other backup. An incremental backup has the changes since another backup, its parent."""

    FULL = "full"
    INCREMENTAL = "incremental"


class CreateBackupRequest(RequestModel):
    """`canvas_id` or `owner_id` selects canvases, and needs the state type `canvas`.

    `base` is the backup on which an incremental backup builds. Without it, the newest suitable backup is used. If there
    is no suitable backup, or if it cannot be read, the new backup becomes a full backup.
    """

    state_type: Annotated[StateType, Field(examples=["canvas"])]
    backup_type: Annotated[BackupType, Field(examples=["full"])] = BackupType.FULL
    canvas_id: CanvasId | None = None
    owner_id: UserId | None = None
    base: BackupId | None = None


class BackupStatus(StrEnum):
    """The states of a backup. Only a `complete` backup can be verified and restored."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    DELETING = "deleting"


class VerificationStatus(StrEnum):
    """The states of a verification."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


class Verification(ReplyModel):
    """The last verification of a backup: each object was read back and compared with its checksum.

    `detail` is the reason of a failure. `unreadable` counts canvases with an update that is not a Yjs update. Such a
    backup is not damaged, because the canvas itself had this update.
    """

    status: VerificationStatus
    finished_at: datetime | None = None
    detail: str | None = None
    objects: int = 0
    bytes: int = 0
    canvases: int = 0
    users: int = 0
    unreadable: int = 0


class Backup(ReplyModel):
    """A backup. `parent_id` is the backup on which an incremental backup builds, or null for a full backup.

    `canvases` counts the canvases that were read so far, of `canvases_total`. `changed` of them are in this backup; the
    others are unchanged since the parent. `bytes` is the size of the stored objects. `progress` goes from 0 to 1.
    `version` is the version of the product that wrote the backup. An `adopted` backup was made by another database, or
    by this database before it was itself restored. Retention never deletes an adopted backup.
    """

    id: str
    state_type: StateType
    backup_type: BackupType
    canvas_id: str | None
    owner_id: str | None
    parent_id: str | None
    status: BackupStatus
    created_by: str
    created_at: datetime
    finished_at: datetime | None
    progress: float
    canvases_total: int
    canvases: int
    changed: int
    users: int
    objects: int
    bytes: int
    encrypted: bool
    format: int
    version: str
    adopted: bool = False
    error: str | None
    verification: Verification | None


class BackupRequest(RequestModel):
    backup_id: BackupId


class ListBackupsRequest(RequestModel):
    """`limit` is the number of backups on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class BackupPage(ReplyModel):
    items: list[Backup]
    next: str | None = None


class RestoreRequest(BackupRequest):
    """Without `canvas_id`, all of the backup is restored."""

    canvas_id: CanvasId | None = None


class RestoreStatus(StrEnum):
    """The states of a restore.

    A `refused` restore has changed nothing, because the backup did not pass its verification. In a `partial` restore,
    some canvases or users could not be restored. A `failed` restore ended early: its list of canvases shows the
    canvases that are restored, and a second restore of the backup restores the others.
    """

    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    REFUSED = "refused"
    FAILED = "failed"


class RestoreOutcome(StrEnum):
    """The effect of a restore on one canvas."""

    CREATED = "created"
    REPLACED = "replaced"
    """The canvas existed. An edit gave it the content of the backup, or only its name was restored."""
    UNDELETED = "undeleted"
    """The canvas was deleted, and exists again. An edit replaced its content, unless the content was the same."""
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    """The canvas is deleted in the backup and exists now. A restore deletes nothing."""
    FAILED = "failed"


class Restore(ReplyModel):
    """A restore. `canvases` counts the finished canvases, of `canvases_total`; `failed` of them were not restored.

    `users_kept` counts the accounts that existed already and are unchanged. `users_refused` counts the accounts that
    could not be added, because an account with another id has the username, the e-mail address or an identity. `error`
    has the reason of a failure, and names refused accounts. The record is deleted 90 days after the end of the
    restore.
    """

    id: str
    backup_id: str
    canvas_id: str | None
    status: RestoreStatus
    verified: bool
    requested_by: str
    created_at: datetime
    finished_at: datetime | None
    progress: float
    canvases_total: int
    canvases: int
    failed: int
    users_added: int
    users_kept: int
    users_refused: int
    error: str | None


class RestoreIdRequest(RequestModel):
    restore_id: RestoreId


class ListRestoresRequest(RequestModel):
    """`limit` is the number of restores on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class RestorePage(ReplyModel):
    items: list[Restore]
    next: str | None = None


class RestoredCanvasesRequest(RestoreIdRequest):
    """`outcome` selects canvases with this outcome.

    `limit` is the number of canvases on a page; `cursor` is the `next` value of the page before.
    """

    outcome: RestoreOutcome | None = None
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class RestoredCanvas(ReplyModel):
    """A canvas that a restore has finished.

    `detail` is the reason of a failure, or the number of updates that were left out.
    """

    canvas_id: str
    outcome: RestoreOutcome
    detail: str | None


class RestoredCanvasPage(ReplyModel):
    items: list[RestoredCanvas]
    next: str | None = None


class StoredIdentity(ReplyModel):
    """The link between an account and a user of an OpenID Connect provider.

    `refused_at` is the time at which auth noticed that the provider gives the user no role; null with a role.
    """

    issuer: str
    subject: str
    linked_at: datetime
    refused_at: datetime | None


class StoredApiKey(ReplyModel):
    """An API key without its text. `hash` is the SHA-256 of the text, in hexadecimal digits.

    `ended_at` is the time at which a request ended the key, or null.
    """

    id: str
    name: str
    prefix: str
    hash: str
    role: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    ended_at: datetime | None


class StoredAccount(ReplyModel):
    """An account with its secrets, but without its sessions, as a backup stores it.

    `erased_as` is the pseudonym if an erasure of the account has begun, else null. Older backups lack the field.
    """

    id: str
    username: str
    email: str
    password_hash: str | None
    role: str
    created_at: datetime
    disabled_at: datetime | None
    deleted_at: datetime | None
    erased_as: str | None = None
    token_version: Annotated[int, Field(ge=0, le=2**31 - 2)]
    identities: list[StoredIdentity]
    api_keys: list[StoredApiKey]


class ExportAccountsRequest(RequestModel):
    """`after` is the id of the last account of the page before."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 200


class ExportedAccounts(ReplyModel):
    """A page of accounts, sorted by id. `total` counts all accounts. The last page has fewer items than the limit."""

    items: list[StoredAccount]
    total: int


class ImportAccountsRequest(RequestModel):
    """Accounts of a backup."""

    items: Annotated[list[StoredAccount], Field(max_length=200, examples=[[]])]


class RefusedAccount(ReplyModel):
    """An account that was not added, because another account has its username, e-mail address or identity.

    `field` is `username`, `email` or `identity`.
    """

    id: str
    field: str


class ImportedAccounts(ReplyModel):
    """`added` accounts are new. `kept` accounts existed already and are unchanged."""

    added: int
    kept: int
    refused: list[RefusedAccount]


CREATE_BACKUP = Operation(
    subject="svgx.state.backup.create",
    summary="Start a backup; the backup's record shows the progress",
    request=CreateBackupRequest,
    reply=Backup,
    scope=Scope.ADMIN,
    http=Http("POST", "/state/backup/", status=202),
    rate=RateClass.WRITE,
    errors=(NotFound, Conflict, Invalid),
)
LIST_BACKUPS = Operation(
    subject="svgx.state.backup.list",
    summary="List the backups, newest first",
    request=ListBackupsRequest,
    reply=BackupPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/state/backups/"),
    repeatable=True,
)
GET_BACKUP = Operation(
    subject="svgx.state.backup.get",
    summary="Get a backup with its progress and its last verification",
    request=BackupRequest,
    reply=Backup,
    scope=Scope.ADMIN,
    http=Http("GET", "/state/backups/{backup_id}"),
    repeatable=True,
    errors=(NotFound,),
)
VERIFY_BACKUP = Operation(
    subject="svgx.state.backup.verify",
    summary="Start to read and check every object of a backup; the backup's record shows the result",
    request=BackupRequest,
    reply=Backup,
    scope=Scope.ADMIN,
    http=Http("POST", "/state/backups/{backup_id}/verify", status=202),
    rate=RateClass.WRITE,
    outside=True,
    timeout=30.0,
    errors=(NotFound, Conflict, Unavailable),
)
DELETE_BACKUP = Operation(
    subject="svgx.state.backup.delete",
    summary="Start to delete a backup that no other backup needs",
    request=BackupRequest,
    reply=Backup,
    scope=Scope.ADMIN,
    http=Http("DELETE", "/state/backups/{backup_id}", status=202),
    rate=RateClass.WRITE,
    errors=(NotFound, Conflict),
)
RESTORE_BACKUP = Operation(
    subject="svgx.state.restore.create",
    summary="Start to verify and restore a backup or one of its canvases; the restore's record shows the progress",
    request=RestoreRequest,
    reply=Restore,
    scope=Scope.ADMIN,
    http=Http("POST", "/state/restore/{backup_id}", status=202),
    rate=RateClass.WRITE,
    outside=True,
    timeout=30.0,
    errors=(NotFound, Conflict, Unavailable),
)
LIST_RESTORES = Operation(
    subject="svgx.state.restore.list",
    summary="List the restores, newest first",
    request=ListRestoresRequest,
    reply=RestorePage,
    scope=Scope.ADMIN,
    http=Http("GET", "/state/restores/"),
    repeatable=True,
)
GET_RESTORE = Operation(
    subject="svgx.state.restore.get",
    summary="Get a restore with its progress",
    request=RestoreIdRequest,
    reply=Restore,
    scope=Scope.ADMIN,
    http=Http("GET", "/state/restores/{restore_id}"),
    repeatable=True,
    errors=(NotFound,),
)
RESTORED_CANVASES = Operation(
    subject="svgx.state.restore.canvases",
    summary="List the canvases that a restore has finished, with their outcomes, sorted by canvas id",
    request=RestoredCanvasesRequest,
    reply=RestoredCanvasPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/state/restores/{restore_id}/canvases/"),
    repeatable=True,
    errors=(NotFound,),
)
EXPORT_ACCOUNTS = Operation(
    subject="svgx.auth.backup.export",
    summary="Read a page of all accounts with their secrets, for a backup",
    request=ExportAccountsRequest,
    reply=ExportedAccounts,
    scope=Scope.INTERNAL,
    callers=("state",),
    rate=RateClass.INTERNAL,
    secret=True,
    repeatable=True,
)
IMPORT_ACCOUNTS = Operation(
    subject="svgx.auth.backup.import",
    summary="Add the accounts of a backup that do not exist yet",
    request=ImportAccountsRequest,
    reply=ImportedAccounts,
    scope=Scope.INTERNAL,
    callers=("state",),
    rate=RateClass.INTERNAL,
    repeatable=True,
    timeout=30.0,
    max_body=16 * 1024 * 1024,
)
