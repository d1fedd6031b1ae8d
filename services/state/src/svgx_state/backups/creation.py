"""Writing a backup: canvases and accounts are read in pages, and stored in objects of a bounded size."""

import asyncio
import functools
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from svgx_common.contract.errors import NotFound
from svgx_common.contract.storage.backups import BackupType, StateType
from svgx_common.postgres import Database, Row
from svgx_state.backups import metrics
from svgx_state.backups.accounts import StoredAccounts
from svgx_state.backups.adoption import record_manifest, stored_entries
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.chain import Chain, unseal
from svgx_state.backups.format.manifest import (
    MANIFEST_NAME,
    BackupIncomplete,
    BackupRefused,
    Envelope,
    Manifest,
    ObjectEntry,
    fetch_manifest,
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
from svgx_state.backups.format.sealing import BackupDamaged
from svgx_state.backups.format.target import ObjectMissing
from svgx_state.backups.tasks import Task, Tasks
from svgx_state.journal import Journal

log = structlog.get_logger(__name__)

OBJECT_BYTES = 4 * 1024 * 1024
"""Size of the updates, in bytes, at which a step ends.

A backup is written in steps. The canvas that reaches this size is the last one of its step. A step stores its changed
canvases in one `canvas` object, and all its canvases in one `index` object. Then it stores the progress.
"""

OBJECT_CANVASES = 10_000
"""Number of canvases at which a step ends, even when few of them changed."""

PAGE_SIZE = 500
"""Largest number of canvases in one statement that reads their facts."""


@dataclass(slots=True)
class _WrittenObjects:
    """The objects that are stored so far, and the numbers of their records."""

    entries: list[ObjectEntry] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Return the number of records of one kind."""
        return sum(each.records for each in self.entries if each.kind == kind)

    def last(self, kind: str) -> str:
        """Return the id of the last record of one kind, or an empty text."""
        return next((each.last for each in reversed(self.entries) if each.kind == kind), "")

    @property
    def bytes(self) -> int:
        """Return the size of the stored objects, in bytes."""
        return sum(each.size for each in self.entries)

    @property
    def next_step(self) -> int:
        """Return the number of the next step."""
        return self.entries[-1].step + 1 if self.entries else 1


class BackupWriter:
    """The writer of backups."""

    def __init__(
        self,
        database: Database,
        *,
        tasks: Tasks,
        archive: Archive,
        accounts: StoredAccounts,
        journal: Journal,
        version: str,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._archive = archive
        self._accounts = accounts
        self._journal = journal
        self._version = version

    async def write(self, task: Task) -> None:
        """Write the backup of a task, or the rest of it. Write nothing if the target has its manifest.

        If this replica cannot read the parent, and the request named no base, make a full backup. Raises `TargetFailed`
        when the backup cannot be written. Raises `BackupRefused` or `BackupDamaged` when the parent is a named base
        that cannot be read, or when the target has a manifest of this backup that cannot be read. Raises `Unavailable`
        or `DeadlineExceeded` while the database or auth does not answer.
        """
        started = time.monotonic()
        if await self._is_complete(task):
            return
        try:
            await self._write(task)
        except (BackupRefused, BackupDamaged) as error:
            if not await self._drop_parent(task):
                raise
            log.warning(
                "making a full backup, because the parent cannot be read",
                backup_id=task.subject_id,
                reason=str(error),
            )
            await self._write(task)
        metrics.BACKUP_SECONDS.observe(time.monotonic() - started)

    async def _write(self, task: Task) -> None:
        record = await self._database.row("backup_record", task.subject_id)
        assert record is not None
        parent = None
        if record["parent_id"] is not None:
            parent = await Chain.open(self._archive, record["parent_id"])
        # This needs auth. While auth does not answer, the attempt ends before it reads the objects back.
        await self._count_totals(task, record)
        written = await self._reuse(task)
        if record["state_type"] != StateType.USERS:
            await self._write_canvases(task, record, parent, written)
        if record["state_type"] != StateType.CANVAS:
            await self._write_accounts(task, written)
        await self._finish(task, record, parent, written)

    async def _is_complete(self, task: Task) -> bool:
        """Return whether the target has the manifest of the backup. If so, complete the record and end the task.

        Such a backup is never written again, because other backups may build on it. Either a replica was killed after
        it had stored the manifest, or the database was restored from a dump that is older than the manifest. In the
        second case, the stored objects usually differ from those in the database, and the backup counts as adopted.
        """
        try:
            manifest, envelope = await fetch_manifest(self._archive, task.subject_id)
        except BackupIncomplete:
            return False
        entries = await stored_entries(self._database, task.subject_id)
        await self._complete(task, manifest, envelope, adopted=entries != manifest.objects)
        log.info("the backup was complete at the target", backup_id=task.subject_id)
        return True

    async def _drop_parent(self, task: Task) -> bool:
        """Make an incremental backup a full one, and forget its objects.

        Return False for a full backup, and for one of which the request named the base.
        """
        async with self._tasks.transaction(task) as session:
            if await session.row("drop_parent", task.subject_id) is None:
                return False
            await session.run("forget_backup_objects", task.subject_id, 0)
            return True

    async def _reuse(self, task: Task) -> _WrittenObjects:
        """Return the stored objects of all steps before the first missing or damaged object.

        Forget all other objects. An object that is encrypted with another key than this replica's counts as damaged,
        because all objects of a backup need one key.
        """
        stored_before = await stored_entries(self._database, task.subject_id)
        written = _WrittenObjects()
        for entry in stored_before:
            name = object_name(task.subject_id, entry.name)
            try:
                if task.checksums.get(name) != entry.sha256:
                    stored = await self._archive.target.get(name)
                    await asyncio.to_thread(unseal, self._archive.seal, name, entry, stored)
            except (BackupDamaged, ObjectMissing) as error:
                log.warning(
                    "writing part of a backup again", backup_id=task.subject_id, reason=str(error)
                )
                written.entries = [each for each in written.entries if each.step < entry.step]
                break
            written.entries.append(entry)
            task.checksums[name] = entry.sha256
        if stored_before:
            async with self._tasks.transaction(task) as session:
                await session.run("forget_backup_objects", task.subject_id, len(written.entries))
            log.info("continuing a backup", backup_id=task.subject_id, objects=len(written.entries))
        return written

    async def _count_totals(self, task: Task, record: Row) -> None:
        """Store the numbers of canvases and accounts that the backup will have."""
        canvases = users = 0
        if record["state_type"] != StateType.USERS:
            row = await self._database.row(
                "count_canvases_to_back_up", record["canvas_id"], record["owner_id"]
            )
            assert row is not None
            canvases = row["total"]
        if record["state_type"] != StateType.CANVAS:
            users = await self._accounts.count()
        async with self._tasks.transaction(task) as session:
            await session.run("set_backup_totals", task.subject_id, canvases, users)

    async def _write_canvases(
        self, task: Task, record: Row, parent: Chain | None, written: _WrittenObjects
    ) -> None:
        after = written.last("index")
        parent_index = _ParentIndex(parent, after)
        index: list[IndexEntry] = []
        changed: list[CanvasRecord] = []
        size = 0
        async for row in self._canvas_rows(record, after):
            facts = _facts(row)
            parent_entry = await parent_index.find(facts.id)
            try:
                canvas = await self._read(facts, row["revision"], parent_entry)
            except NotFound:
                continue  # the removal of the canvas began after its facts were read
            if canvas is not None:
                changed.append(canvas)
                size += sum(map(len, canvas.updates))
            revision = row["revision"] if canvas is None else canvas.revision
            index.append(IndexEntry(facts.id, revision, facts.digest(), facts.lineage))
            if size >= OBJECT_BYTES or len(index) >= OBJECT_CANVASES:
                await self._store(task, written, index, changed)
                index, changed, size = [], [], 0
        if index:
            await self._store(task, written, index, changed)

    async def _canvas_rows(self, record: Row, after: str) -> AsyncIterator[Row]:
        while True:
            rows = await self._database.rows(
                "canvases_to_back_up", PAGE_SIZE, after, record["canvas_id"], record["owner_id"]
            )
            for row in rows:
                yield row
            if len(rows) < PAGE_SIZE:
                return
            after = rows[-1]["id"]

    async def _read(
        self, facts: CanvasFacts, revision: int, parent_entry: IndexEntry | None
    ) -> CanvasRecord | None:
        """Return a canvas, with all content or with the edits since the parent backup. Return None if nothing changed.

        `parent_entry` is the parent's index entry of the canvas, or None if the parent does not have the canvas. One
        statement reads the content, so that the content belongs to one revision even while others edit the canvas.

        Raise `NotFound` when the canvas does not exist any more, or when its removal has begun.
        """
        if (
            parent_entry is not None
            and parent_entry.lineage == facts.lineage
            and revision >= parent_entry.revision
        ):
            if (revision, facts.digest()) == (parent_entry.revision, parent_entry.digest):
                return None
            if revision == parent_entry.revision:
                return CanvasRecord(facts, revision, revision, ())
        after = (
            0
            if parent_entry is None or parent_entry.lineage != facts.lineage
            else parent_entry.revision
        )
        content = await self._journal.load(facts.id, after, also_deleted=True)
        # The journal may return all content instead of the tail. If all content has as many updates as the tail would
        # have, the record counts as a tail, and a restore applies more updates than it needs.
        is_tail = len(content.updates) == content.revision - after
        return CanvasRecord(facts, content.revision, after if is_tail else 0, content.updates)

    async def _store(
        self,
        task: Task,
        written: _WrittenObjects,
        index: list[IndexEntry],
        changed: list[CanvasRecord],
    ) -> None:
        """Store the objects of one step, and then add their entries to the database."""
        step = written.next_step
        entries = []
        if changed:
            entries.append(
                await self._put(
                    task,
                    ("canvas", step, len(changed), changed[0].facts.id, changed[-1].facts.id),
                    functools.partial(_join, changed),
                )
            )
        entries.append(
            await self._put(
                task,
                ("index", step, len(index), index[0].id, index[-1].id),
                functools.partial(write_index, index),
            )
        )
        await self._note(task, written, entries)

    async def _write_accounts(self, task: Task, written: _WrittenObjects) -> None:
        async for accounts in self._accounts.pages(written.last("users")):
            entry = await self._put(
                task,
                ("users", written.next_step, len(accounts), accounts[0].id, accounts[-1].id),
                functools.partial(write_accounts, accounts),
            )
            await self._note(task, written, [entry])

    async def _put(
        self,
        task: Task,
        description: "tuple[str, int, int, str, str]",
        content_of: "functools.partial[bytes]",
    ) -> ObjectEntry:
        """Store one object. `description` is its kind, step and number of records, and its first and last id.

        The object's name contains a random part. So a replica that lost the task replaces no object, and neither does a
        failed request that the target carries out later.
        """
        kind, step, records, first, last = description
        entry_name = f"{kind}-{step:06}-{task.attempts}-{secrets.token_hex(4)}"
        name = object_name(task.subject_id, entry_name)

        def seal_content() -> tuple[int, bytes, str]:
            content = content_of()
            stored = self._archive.seal.pack(name, content)
            return len(content), stored, hashlib.sha256(stored).hexdigest()

        content_size, stored, checksum = await asyncio.to_thread(seal_content)
        await self._archive.target.put(name, stored)
        task.checksums[name] = checksum
        metrics.BACKUP_BYTES.inc(len(stored))
        return ObjectEntry.model_validate(
            {
                "name": entry_name,
                "kind": kind,
                "step": step,
                "size": len(stored),
                "content_size": content_size,
                "sha256": checksum,
                "records": records,
                "first": first,
                "last": last,
            }
        )

    async def _note(self, task: Task, written: _WrittenObjects, entries: list[ObjectEntry]) -> None:
        """Add the entries of stored objects to the database, with the progress of the backup."""
        number = len(written.entries)
        written.entries += entries
        async with self._tasks.transaction(task) as session:
            for offset, entry in enumerate(entries):
                await session.run(
                    "add_backup_object", task.subject_id, number + offset, entry.model_dump_json()
                )
            await session.run(
                "set_backup_progress",
                task.subject_id,
                written.count("index"),
                written.count("canvas"),
                written.count("users"),
                len(written.entries),
                written.bytes,
            )

    async def _finish(
        self, task: Task, record: Row, parent: Chain | None, written: _WrittenObjects
    ) -> None:
        """Write the manifest, and then mark the backup as complete."""
        manifest = Manifest(
            backup_id=task.subject_id,
            state_type=record["state_type"],
            backup_type=BackupType(record["backup_type"]),
            canvas_id=record["canvas_id"],
            owner_id=record["owner_id"],
            chain=[] if parent is None else [*parent.manifest.chain, parent.manifest.backup_id],
            created_by=record["created_by"],
            created_at=record["created_at"],
            finished_at=datetime.now(UTC),
            canvases=written.count("index"),
            changed=written.count("canvas"),
            users=written.count("users"),
            objects=written.entries,
        )
        envelope = await asyncio.to_thread(
            seal_manifest, manifest, self._archive.seal, self._version
        )
        async with self._tasks.transaction(task):
            pass  # raises `TaskLost`, so that a replica that lost the task writes no manifest
        await self._remove_unlisted(manifest)
        content = envelope.model_dump_json().encode()
        await self._archive.target.put(object_name(task.subject_id, MANIFEST_NAME), content)
        await self._complete(task, manifest, envelope, adopted=False)

    async def _complete(
        self, task: Task, manifest: Manifest, envelope: Envelope, *, adopted: bool
    ) -> None:
        """Mark the backup as complete, with the facts of its manifest."""
        async with self._tasks.last_transaction(task) as session:
            await record_manifest(session, manifest, envelope, adopted=adopted)

    async def _remove_unlisted(self, manifest: Manifest) -> None:
        """Delete objects that are not in the manifest: they were written again after the target or a replica failed."""
        listed = {object_name(manifest.backup_id, each.name) for each in manifest.objects}
        stored = await self._archive.target.names(manifest.backup_id)
        await self._archive.target.delete([name for name in stored if name not in listed])


class _ParentIndex:
    """The index entries of the parent backup. They are read in the order of the ids, as the canvases are."""

    def __init__(self, parent: Chain | None, after: str) -> None:
        self._entries = None if parent is None else parent.index(after=after)
        self._head: IndexEntry | None = None
        self._has_begun = False

    async def find(self, canvas_id: str) -> IndexEntry | None:
        """Return the parent's entry of a canvas, or None. Calls must be in the order of the ids."""
        if self._entries is None:
            return None
        while not self._has_begun or (self._head is not None and self._head.id < canvas_id):
            self._has_begun = True
            self._head = await anext(self._entries, None)
        return self._head if self._head is not None and self._head.id == canvas_id else None


def _facts(row: Row) -> CanvasFacts:
    return CanvasFacts(
        row["id"],
        row["name"],
        row["created_by"],
        row["created_at"].astimezone(UTC),
        row["deleted_at"] and row["deleted_at"].astimezone(UTC),
        json.loads(row["members"]),
        row["lineage"],
    )


def _join(records: list[CanvasRecord]) -> bytes:
    return b"".join(record.encode() for record in records)
