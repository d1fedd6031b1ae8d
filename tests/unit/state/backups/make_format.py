"""Write two small backups in the present format: `python -m tests.unit.state.backups.make_format FILE`.

Later versions must read these backups (`test_formats.py`). The file is JSON. It has the stored objects of the backups
in base64, once in clear and once encrypted. The second backup builds on the first. Run this module once for a new
format, and never for an old one.
"""

import asyncio
import base64
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from pycrdt import Doc, Map

from svgx_common.contract.storage.backups import BackupType, StateType, StoredAccount
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import (
    MANIFEST_NAME,
    Manifest,
    ObjectEntry,
    object_name,
    seal_manifest,
)
from svgx_state.backups.format.records import (
    CanvasFacts,
    CanvasRecord,
    IndexEntry,
    write_accounts,
    write_index,
)
from svgx_state.backups.format.sealing import Seal
from svgx_state.backups.format.target import Target

KEY = bytes(range(32))
FULL, INCREMENT = "20260101T000000Z-00000001", "20260102T000000Z-00000002"
_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def account(user_id: str) -> StoredAccount:
    """Return an account with an identity and an API key."""
    return StoredAccount.model_validate(
        {
            "id": user_id,
            "username": "Ada",
            "email": "ada@example.org",
            "password_hash": "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA",
            "role": "editor",
            "created_at": _TIME,
            "disabled_at": None,
            "deleted_at": None,
            "token_version": 2,
            "identities": [
                {"issuer": "https://id", "subject": "7", "linked_at": _TIME, "refused_at": None}
            ],
            "api_keys": [
                {
                    "id": "key",
                    "name": "robot",
                    "prefix": "svgx_1",
                    "hash": "00" * 32,
                    "role": "viewer",
                    "created_at": _TIME,
                    "expires_at": _TIME,
                    "last_used_at": None,
                    "ended_at": _TIME,
                }
            ],
        }
    )


def canvas(canvas_id: str, name: str, deleted_at: datetime | None = None) -> CanvasFacts:
    """Return the facts of a canvas with two members."""
    return CanvasFacts(
        canvas_id, name, "u1", _TIME, deleted_at, {"u1": "owner", "u2": "viewer"}, lineage=""
    )


def drawing() -> tuple[list[bytes], list[bytes]]:
    """Return the updates of a drawing: those in the full backup, and those after the full backup."""
    doc: Doc[Map[str]] = Doc(client_id=1)
    elements = doc.get("elements", type=Map)
    updates = []
    for name in ("a", "b", "c"):
        before = doc.get_state()
        elements[name] = "rect"
        updates.append(doc.get_update(before))
    return updates[:2], updates[2:]


async def write(target: Target, seal: Seal) -> None:
    """Write a full backup of three canvases and a user, and an incremental backup."""
    first, later = drawing()
    await _write_backup(
        Archive(target, seal),
        FULL,
        [],
        [
            CanvasRecord(canvas("a", "Plan ✏️"), 2, 0, first),
            CanvasRecord(canvas("b", "Empty"), 0, 0, []),
            CanvasRecord(canvas("c", "Gone"), 2, 0, first),
        ],
        {"a": 2, "b": 0, "c": 2},
    )
    await _write_backup(
        Archive(target, seal),
        INCREMENT,
        [FULL],
        [
            CanvasRecord(canvas("a", "Plan ✏️"), 3, 2, later),
            CanvasRecord(canvas("b", "Empty", _TIME), 0, 0, []),
        ],
        {"a": 3, "b": 0},
    )


async def _write_backup(
    archive: Archive,
    backup_id: str,
    chain: list[str],
    records: list[CanvasRecord],
    revisions: dict[str, int],
) -> None:
    digests = {each.facts.id: each.facts.digest() for each in records}
    index = [IndexEntry(each, revisions[each], digests[each], "") for each in revisions]
    parts = [
        ("canvas", records[0].facts.id, records[-1].facts.id, len(records)),
        ("index", index[0].id, index[-1].id, len(index)),
        ("users", "u1", "u1", 1),
    ]
    contents = [
        b"".join(each.encode() for each in records),
        write_index(index),
        write_accounts([account("u1")]),
    ]
    entries = []
    for (kind, first, last, count), content in zip(parts, contents, strict=True):
        name = object_name(backup_id, f"{kind}-000001-1")
        stored = archive.seal.pack(name, content)
        await archive.target.put(name, stored)
        entries.append(
            ObjectEntry.model_validate(
                {
                    "name": f"{kind}-000001-1",
                    "kind": kind,
                    "step": 1,
                    "size": len(stored),
                    "content_size": len(content),
                    "sha256": hashlib.sha256(stored).hexdigest(),
                    "records": count,
                    "first": first,
                    "last": last,
                }
            )
        )
    manifest = Manifest(
        backup_id=backup_id,
        state_type=StateType.ALL,
        backup_type=BackupType.INCREMENTAL if chain else BackupType.FULL,
        canvas_id=None,
        owner_id=None,
        chain=chain,
        created_by="u1",
        created_at=_TIME,
        finished_at=_TIME,
        canvases=len(index),
        changed=len(records),
        users=1,
        objects=entries,
    )
    await archive.target.put(
        object_name(backup_id, MANIFEST_NAME),
        seal_manifest(manifest, archive.seal, "0.1.0").model_dump_json().encode(),
    )


async def objects_of(target: Target) -> dict[str, str]:
    """Return all objects of a target, in base64."""
    found = {}
    for folder in await target.folders():
        for name in await target.names(folder):
            found[name] = base64.b64encode(await target.get(name)).decode()
    return found


async def main(path: Path) -> None:
    """Write the file."""
    content = {}
    for label, key in (("clear", None), ("encrypted", KEY)):
        target = Target.open("memory://")
        await write(target, Seal(key))
        content[label] = await objects_of(target)
    text = json.dumps(content, indent=1, sort_keys=True)
    await asyncio.to_thread(path.write_text, text + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
