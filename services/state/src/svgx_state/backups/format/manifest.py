"""The manifest of a backup: the list of its objects with their checksums. It is written last.

`manifest.json` is a JSON object in clear text (`Envelope`). Its `body` is the manifest itself, in the same stored form
as all objects. The envelope tells a reader whether it can read the backup.
"""

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from svgx_common.contract.storage.backups import BackupType, StateType
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.sealing import CIPHER, BackupDamaged, Seal
from svgx_state.backups.format.target import ObjectMissing

FORMAT = 1
"""The format that this version of the service writes. The service reads this format and all earlier ones."""

PRODUCT = "svgx-engine"
MANIFEST_NAME = "manifest.json"


class BackupRefused(Exception):
    """This service cannot use a backup. The message gives the reason."""


class BackupIncomplete(BackupRefused):
    """A backup has no manifest: it is still being written, it was given up, or the folder is not a backup."""


class ObjectEntry(BaseModel):
    """An object of a backup.

    `canvas` objects have the content of the canvases that changed, `index` objects list all canvases, and `users`
    objects have accounts. The records are in the order of their ids. A backup is made in steps, each for the next
    canvases or accounts, and `step` is the number of the step that stored the object. `first` and `last` are the ids of
    the first and the last record. `size` and `sha256` describe the stored bytes, and `content_size` is the size of the
    content. Sizes are in bytes.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["canvas", "index", "users"]
    step: int
    size: int
    content_size: int
    sha256: str
    records: int
    first: str
    last: str


class Manifest(BaseModel):
    """The content of a backup. `chain` has the ids of the backups that it needs, beginning with the full backup."""

    model_config = ConfigDict(frozen=True)

    backup_id: str
    state_type: StateType
    backup_type: BackupType
    canvas_id: str | None
    owner_id: str | None
    chain: list[str]
    created_by: str
    created_at: datetime
    finished_at: datetime
    canvases: int
    changed: int
    users: int
    objects: list[ObjectEntry]

    @property
    def parent_id(self) -> str | None:
        """Return the id of the backup on which this backup builds, or None for a full backup."""
        return self.chain[-1] if self.chain else None

    @property
    def bytes(self) -> int:
        """Return the size of all stored objects, in bytes."""
        return sum(each.size for each in self.objects)

    def of_kind(self, kind: str) -> list[ObjectEntry]:
        """Return the objects of a kind, in the order of their records."""
        return [each for each in self.objects if each.kind == kind]


class Encryption(BaseModel):
    """The cipher of a backup, and the id of its key (`Seal.key_id`)."""

    cipher: str
    key_id: str


class Envelope(BaseModel):
    """The readable part of `manifest.json`.

    `body` is the stored manifest in base64, and `sha256` is the hash of the stored bytes.
    """

    product: str
    format: int = Field(ge=1)
    version: str
    backup_id: str
    encryption: Encryption | None
    content_size: int = Field(ge=0, le=2**32)
    sha256: str
    body: str


def object_name(backup_id: str, name: str) -> str:
    """Return the name of a backup's object at the target."""
    return f"{backup_id}/{name}"


def seal_manifest(manifest: Manifest, seal: Seal, version: str) -> Envelope:
    """Return the content of `manifest.json`, which is stored as JSON."""
    content = manifest.model_dump_json().encode()
    stored = seal.pack(object_name(manifest.backup_id, MANIFEST_NAME), content)
    return Envelope(
        product=PRODUCT,
        format=FORMAT,
        version=version,
        backup_id=manifest.backup_id,
        encryption=None if seal.key_id is None else Encryption(cipher=CIPHER, key_id=seal.key_id),
        content_size=len(content),
        sha256=hashlib.sha256(stored).hexdigest(),
        body=base64.b64encode(stored).decode(),
    )


async def fetch_manifest(archive: Archive, backup_id: str) -> tuple[Manifest, Envelope]:
    """Read the manifest of a backup.

    Raise `BackupIncomplete` if there is no manifest, `BackupRefused` if this service cannot use the backup, or
    `TargetFailed`.
    """
    try:
        content = await archive.target.get(object_name(backup_id, MANIFEST_NAME))
    except ObjectMissing:
        raise BackupIncomplete(f"there is no complete backup {backup_id} at the target") from None
    return read_manifest(content, archive.seal, backup_id)


def read_manifest(content: bytes, seal: Seal, backup_id: str) -> tuple[Manifest, Envelope]:
    """Return the manifest and the envelope that the bytes of `manifest.json` contain. Raise `BackupRefused`."""
    try:
        envelope = Envelope.model_validate_json(content)
    except ValidationError:
        raise BackupRefused(
            f"the manifest of {backup_id} is damaged, or belongs to another product"
        ) from None
    if envelope.product != PRODUCT or envelope.backup_id != backup_id:
        raise BackupRefused(
            f"the manifest of {backup_id} belongs to another product or another backup"
        )
    if envelope.format > FORMAT:
        raise BackupRefused(
            f"{backup_id} has format {envelope.format}, and this version reads formats up to {FORMAT}: "
            f"use version {envelope.version} or a later one"
        )
    key_id = None if envelope.encryption is None else envelope.encryption.key_id
    if envelope.encryption is not None and envelope.encryption.cipher != CIPHER:
        raise BackupRefused(
            f"{backup_id} is encrypted with an unknown cipher: {envelope.encryption.cipher!r:.40}"
        )
    if key_id != seal.key_id:
        raise BackupRefused(_other_key(backup_id, key_id, seal.key_id))
    try:
        stored = base64.b64decode(envelope.body, validate=True)
        if hashlib.sha256(stored).hexdigest() != envelope.sha256:
            raise BackupDamaged
        plain = seal.unpack(object_name(backup_id, MANIFEST_NAME), stored, envelope.content_size)
        manifest = Manifest.model_validate_json(plain)
    except (BackupDamaged, binascii.Error, ValueError):
        raise BackupRefused(f"the manifest of {backup_id} is damaged") from None
    if manifest.backup_id != backup_id:
        raise BackupRefused(f"the manifest of {backup_id} belongs to another backup")
    return manifest, envelope


def _other_key(backup_id: str, key_id: str | None, own_key_id: str | None) -> str:
    """Return the reason why a backup cannot be read with the key of this service."""
    if key_id is None:
        return f"{backup_id} is not encrypted, and BACKUP_KEY is set: unset it to use this backup"
    if own_key_id is None:
        return f"{backup_id} is encrypted with the key {key_id}: set BACKUP_KEY"
    return f"{backup_id} is encrypted with the key {key_id}, and BACKUP_KEY is the key {own_key_id}"
