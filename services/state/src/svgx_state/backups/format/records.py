"""The records in the objects of a backup.

A `canvas` object is a sequence of records: the length of the head (4 bytes, big-endian), the head in JSON, and the
updates. The head has the sizes of the updates. `index` and `users` objects are JSON arrays.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from svgx_common.contract.storage.backups import StoredAccount
from svgx_state.backups.format.sealing import BackupDamaged

_HEAD_LENGTH = struct.Struct(">I")
_ACCOUNTS = TypeAdapter(list[StoredAccount])


@dataclass(frozen=True, slots=True)
class CanvasFacts:
    """Everything about a canvas except for its content."""

    id: str
    name: str
    created_by: str
    created_at: datetime
    deleted_at: datetime | None
    members: Mapping[str, str]
    lineage: str
    """The restore that created the canvas, or an empty text. Revisions are compared within a lineage only."""

    def digest(self) -> str:
        """Return a hash of the facts, as 32 hexadecimal digits."""
        text = json.dumps(_facts(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class CanvasRecord:
    """A canvas and its updates, from the revision after `after` to `revision`.

    If `after` is 0, the updates have the whole content.
    """

    facts: CanvasFacts
    revision: int
    after: int
    updates: Sequence[bytes]

    def encode(self) -> bytes:
        """Return the bytes of the record in a `canvas` object."""
        head = {
            **_facts(self.facts),
            "revision": self.revision,
            "after": self.after,
            "sizes": [len(update) for update in self.updates],
        }
        text = json.dumps(head, ensure_ascii=False).encode()
        return b"".join((_HEAD_LENGTH.pack(len(text)), text, *self.updates))


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A canvas that exists at the time of the backup. `digest` is the digest of its facts."""

    id: str
    revision: int
    digest: str
    lineage: str


def read_canvases(name: str, content: bytes) -> Iterator[CanvasRecord]:
    """Yield the records of a `canvas` object. Raise `BackupDamaged`."""
    view = memoryview(content)
    position = 0
    while position < len(view):
        try:
            (length,) = _HEAD_LENGTH.unpack_from(view, position)
            position += _HEAD_LENGTH.size
            head = json.loads(bytes(view[position : position + length]))
            position += length
            updates = []
            for size in head["sizes"]:
                updates.append(bytes(view[position : position + size]))
                position += size
            record = CanvasRecord(_read_facts(head), head["revision"], head["after"], updates)
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            raise BackupDamaged(f"{name} has a record that cannot be read") from None
        if position > len(view):
            raise BackupDamaged(f"{name} ends within a record")
        yield record


def write_index(entries: Sequence[IndexEntry]) -> bytes:
    """Return the content of an `index` object."""
    rows = [[each.id, each.revision, each.digest, each.lineage] for each in entries]
    return json.dumps(rows, separators=(",", ":")).encode()


def read_index(name: str, content: bytes) -> list[IndexEntry]:
    """Return the entries of an `index` object. Raise `BackupDamaged`."""
    try:
        return [IndexEntry(*row) for row in json.loads(content)]
    except (ValueError, TypeError):
        raise BackupDamaged(f"{name} cannot be read") from None


def write_accounts(accounts: list[StoredAccount]) -> bytes:
    """Return the content of a `users` object."""
    return _ACCOUNTS.dump_json(accounts)


def read_accounts(name: str, content: bytes) -> list[StoredAccount]:
    """Return the accounts of a `users` object. Raise `BackupDamaged`."""
    try:
        return _ACCOUNTS.validate_json(content)
    except ValidationError:
        raise BackupDamaged(f"{name} cannot be read") from None


def _facts(facts: CanvasFacts) -> dict[str, Any]:
    return {
        "id": facts.id,
        "name": facts.name,
        "created_by": facts.created_by,
        "created_at": facts.created_at.isoformat(),
        "deleted_at": facts.deleted_at and facts.deleted_at.isoformat(),
        "members": dict(facts.members),
        "lineage": facts.lineage,
    }


def _read_facts(head: Mapping[str, Any]) -> CanvasFacts:
    deleted_at = head["deleted_at"]
    return CanvasFacts(
        head["id"],
        head["name"],
        head["created_by"],
        datetime.fromisoformat(head["created_at"]),
        deleted_at and datetime.fromisoformat(deleted_at),
        head["members"],
        head["lineage"],
    )
