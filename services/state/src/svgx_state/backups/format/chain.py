"""A backup and the backups on which it builds, read as one backup."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from svgx_common.contract.storage.backups import StoredAccount
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import (
    BackupRefused,
    Envelope,
    Manifest,
    ObjectEntry,
    fetch_manifest,
    object_name,
)
from svgx_state.backups.format.records import (
    CanvasFacts,
    CanvasRecord,
    IndexEntry,
    read_accounts,
    read_canvases,
    read_index,
)
from svgx_state.backups.format.sealing import BackupDamaged, Seal
from svgx_state.backups.format.target import ObjectMissing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredCanvas:
    """A canvas as a backup has it. `updates` have the whole content of the canvas."""

    facts: CanvasFacts
    revision: int
    updates: list[bytes]


@dataclass(slots=True)
class ReadCounts:
    """The number of objects that were read, and their bytes."""

    objects: int = 0
    bytes: int = 0


class Chain:
    """A backup and the backups on which it builds, in the order of `manifests`: from the full backup to this backup.

    Memory is bounded: it has at most one index object, and one canvas object for each backup of the chain.
    """

    def __init__(self, archive: Archive, manifests: list[Manifest], envelope: Envelope) -> None:
        self.manifest = manifests[-1]
        self.envelope = envelope
        self.counts = ReadCounts()
        self._archive = archive
        self._manifests = manifests

    @classmethod
    async def open(cls, archive: Archive, backup_id: str) -> "Chain":
        """Read the manifests of a backup and of the backups on which it builds.

        Raise `BackupRefused`, or `TargetFailed`.
        """
        newest, envelope = await fetch_manifest(archive, backup_id)
        manifests: list[Manifest] = []
        for parent_id in newest.chain:
            manifest, _ = await fetch_manifest(archive, parent_id)
            if manifest.chain != newest.chain[: len(manifests)]:
                raise BackupRefused(f"{parent_id} is not the backup on which {backup_id} builds")
            manifests.append(manifest)
        return cls(archive, [*manifests, newest], envelope)

    def may_have(self, canvas_id: str) -> bool:
        """Return whether the backup may have a canvas. Only reading the index gives certainty."""
        return any(_may_have(entry, canvas_id) for entry in self.manifest.of_kind("index"))

    async def index(self, *, after: str = "", only: str | None = None) -> AsyncIterator[IndexEntry]:
        """Yield the index entries of all canvases after the id `after`, in the order of ids.

        With `only`, yield only the entry of this canvas. Raise `BackupDamaged`, or `TargetFailed`.
        """
        last_id = ""
        for entry in self.manifest.of_kind("index"):
            if entry.last <= after or not _may_have(entry, only):
                continue
            name, content = await self._read(self.manifest, entry)
            for each in _with_checked_count(name, entry, read_index(name, content)):
                if each.id <= last_id:
                    raise BackupDamaged(f"the records of {name} are not in the order of their ids")
                last_id = each.id
                if each.id > after and only in (None, each.id):
                    yield each

    async def canvases(
        self, *, after: str = "", only: str | None = None
    ) -> AsyncIterator[StoredCanvas]:
        """Yield the canvases after the id `after`, in the order of ids. Raise `BackupDamaged`, or `TargetFailed`.

        With `only`, yield only this canvas.
        """
        streams = [_RecordStream(self._records(each, after, only)) for each in self._manifests]
        for stream in streams:
            await stream.advance()
        async for entry in self.index(after=after, only=only):
            parts = []
            for stream in streams:
                # Skip records of canvases that did not exist any more at the time of the backup. The index lacks them.
                while stream.head is not None and stream.head.facts.id < entry.id:
                    await stream.advance()
                if stream.head is not None and stream.head.facts.id == entry.id:
                    parts.append(stream.head)
                    await stream.advance()
            yield self._join(entry, parts)
        # Read the remaining records too, so that every object is checked.
        for stream in streams:
            while stream.head is not None:
                await stream.advance()

    async def accounts(self) -> AsyncIterator[list[StoredAccount]]:
        """Yield the accounts of the backup, one object at a time. Raise `BackupDamaged`, or `TargetFailed`."""
        for entry in self.manifest.of_kind("users"):
            name, content = await self._read(self.manifest, entry)
            yield list(_with_checked_count(name, entry, read_accounts(name, content)))

    async def _records(
        self, manifest: Manifest, after: str, only: str | None
    ) -> AsyncIterator[CanvasRecord]:
        for entry in manifest.of_kind("canvas"):
            if entry.last <= after or not _may_have(entry, only):
                continue
            name, content = await self._read(manifest, entry)
            for record in _with_checked_count(name, entry, list(read_canvases(name, content))):
                if record.facts.id > after:
                    yield record

    async def _read(self, manifest: Manifest, entry: ObjectEntry) -> tuple[str, bytes]:
        name = object_name(manifest.backup_id, entry.name)
        try:
            stored = await self._archive.target.get(name)
        except ObjectMissing as error:
            raise BackupDamaged(str(error)) from None
        self.counts.objects += 1
        self.counts.bytes += len(stored)
        return name, await asyncio.to_thread(unseal, self._archive.seal, name, entry, stored)

    def _join(self, entry: IndexEntry, parts: list[CanvasRecord]) -> StoredCanvas:
        """Return a canvas from its records in the backups of the chain, oldest first. Raise `BackupDamaged`."""
        updates: list[bytes] = []
        revision = 0
        for part in parts:
            if part.after == 0:
                updates = []
            elif part.after != revision:
                raise BackupDamaged(
                    f"the canvas {entry.id} lacks the edits after revision {revision}"
                )
            updates += part.updates
            revision = part.revision
        if not parts or revision != entry.revision or parts[-1].facts.digest() != entry.digest:
            raise BackupDamaged(
                f"the canvas {entry.id} differs from its index entry in {self.manifest.backup_id}"
            )
        return StoredCanvas(parts[-1].facts, revision, updates)


class _RecordStream:
    """Records that are read one by one. `head` is the current record, or None before the first and after the last."""

    def __init__(self, records: AsyncIterator[CanvasRecord]) -> None:
        self._records = records
        self.head: CanvasRecord | None = None

    async def advance(self) -> None:
        """Read the next record."""
        self.head = await anext(self._records, None)


def unseal(seal: Seal, name: str, entry: ObjectEntry, stored: bytes) -> bytes:
    """Return the content of an object from its stored bytes.

    Raise `BackupDamaged` if the bytes differ from the object's entry, or if the seal's key did not encrypt them.
    """
    if len(stored) != entry.size:
        raise BackupDamaged(f"{name} has {len(stored)} bytes instead of {entry.size}")
    if hashlib.sha256(stored).hexdigest() != entry.sha256:
        raise BackupDamaged(f"{name} does not match its checksum")
    return seal.unpack(name, stored, entry.content_size)


def _with_checked_count(name: str, entry: ObjectEntry, records: list[T]) -> list[T]:
    """Return the records of an object. Raise `BackupDamaged` if their number is not the number in the manifest."""
    if len(records) != entry.records:
        raise BackupDamaged(f"{name} has {len(records)} records instead of {entry.records}")
    return records


def _may_have(entry: ObjectEntry, only: str | None) -> bool:
    return only is None or entry.first <= only <= entry.last
