"""Backups that were complete at the target before the database was restored from a dump that is older."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from svgx_common.contract.errors import Conflict
from svgx_common.contract.storage.backups import Backup, BackupStatus
from svgx_state.backups import runner
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.format.manifest import MANIFEST_NAME
from tests.integration.state.backup_site import OTHER_KEY, Site, adopt_nothing, paused_backup
from tests.integration.state.service import Tables
from tests.integration.state.vault import tables_of
from tests.polling import pause

_TABLES = ("backup", "backup_object", "backup_task")


async def _dump(tables: Tables) -> None:
    """Copy the tables of the backups, as a dump of the database does."""
    for table in _TABLES:
        await tables.execute(f"DROP TABLE IF EXISTS dump_of_{table}")
        await tables.execute(f"CREATE TABLE dump_of_{table} AS TABLE {table}")


async def _restore_dump(tables: Tables) -> None:
    """Give the tables of the backups the rows of the dump, as a restore of the database does."""
    await tables.execute(f"TRUNCATE {', '.join(_TABLES)}")
    for table in _TABLES:
        rows = f"TABLE dump_of_{table}"
        await tables.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE {rows}")
    await tables.execute("UPDATE backup_task SET heartbeat_at = NULL")


async def _insert_older_failed_backup(tables: Tables) -> None:
    """Add the failed backup `older` without a manifest. The retention deletes it after it has looked at all others."""
    await tables.execute(
        "INSERT INTO backup (id, state_type, backup_type, status, created_by, created_at, encrypted, format, version)"
        " VALUES ('older', 'all', 'full', 'failed', 'ann', now() - interval '3 days', true, 1, '1')"
    )


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@asynccontextmanager
async def _completed_after_dump(
    site: Site, *, first_attempt: bool = False
) -> AsyncIterator[Backup]:
    """Make a backup that is complete at the target and running in the database. Yield its record before the restore.

    At the target, an incremental backup builds on it.

    With `first_attempt`, no replica has taken up the backup at the time of the dump.
    """
    vault = site.vault
    async with site.replica(), tables_of(site.url) as tables:
        drawn = [await vault.draw("a") for _ in range(5)]
        async with paused_backup(site, 4) as backup:
            await _dump(tables)
            for canvas_id in drawn:
                await vault.draw("b", canvas_id=canvas_id)
        complete = await vault.wait_ended(backup.id)
        assert complete.status == "complete"
        await vault.draw("c", canvas_id=drawn[0])
        owner_id = vault.client.me.user_id
        child = await vault.back_up(owner_id=owner_id, backup_type="incremental")
        assert child.parent_id == backup.id
        if first_attempt:
            await tables.execute("TRUNCATE dump_of_backup_object")
            await tables.execute("UPDATE dump_of_backup_task SET attempts = 0")
    async with tables_of(site.url) as tables:
        await _restore_dump(tables)
    yield complete


@pytest.mark.parametrize("first_attempt", [False, True])
async def test_backup_that_was_completed_after_the_dump_of_a_restored_database_is_adopted(
    site: Site, small_objects: None, *, first_attempt: bool
) -> None:
    """A replica writes nothing to the folder of a complete backup. Proves R-BACKUP-15.

    The backups that build on it can still be verified.
    """
    vault = site.vault
    async with _completed_after_dump(site, first_attempt=first_attempt) as complete:
        before = _contents(vault.folder / complete.id)
        (child_id,) = {path.name for path in vault.folder.iterdir()} - {complete.id}
        async with site.replica():
            ended = await vault.wait_ended(complete.id)
            assert ended == complete.model_copy(update={"adopted": True})
            assert _contents(vault.folder / complete.id) == before
            for backup_id in (complete.id, child_id):
                assert (await vault.verify(backup_id)).status == "passed"
            later = await vault.back_up(owner_id=vault.client.me.user_id, backup_type="incremental")
            assert later.backup_type == "full"


async def test_backup_with_a_manifest_that_cannot_be_read_fails_and_keeps_its_folder(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retention keeps the folder, and a replica with the right key adopts the backup. Proves R-BACKUP-15."""
    monkeypatch.setattr(runner, "RETENTION_SECONDS", 0.0)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    vault = site.vault
    async with _completed_after_dump(site) as complete:
        before = _contents(vault.folder / complete.id)
        async with site.replica(backup_key=OTHER_KEY, backup_keep=1), tables_of(site.url) as tables:
            ended = await vault.wait_ended(complete.id)
            assert ended.status == "failed"
            assert ended.error is not None
            assert "BACKUP_KEY is the key" in ended.error
            await tables.execute(
                "UPDATE backup SET created_at = now() - interval '2 days' WHERE id = $1",
                complete.id,
            )
            await _insert_older_failed_backup(tables)
            await vault.wait_gone("older")
            assert _contents(vault.folder / complete.id) == before
        async with site.replica():
            while (adopted := await vault.get(complete.id)).status is not BackupStatus.COMPLETE:
                await pause()
            assert (adopted.adopted, adopted.error) == (True, None)
            assert _contents(vault.folder / complete.id) == before


@pytest.mark.parametrize("age", ["1 hour", "2 days"])
async def test_failed_backup_with_a_manifest_keeps_the_backup_on_which_it_builds(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    """A replica with the right key adopts the failed backup, and can verify it. Proves R-BACKUP-15."""
    monkeypatch.setattr(runner, "RETENTION_SECONDS", 0.0)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    vault = site.vault
    owner_id = vault.client.me.user_id
    async with site.replica(), tables_of(site.url) as tables:
        canvas_id = await vault.draw("a")
        parent = await vault.back_up(owner_id=owner_id)
        await vault.draw("b", canvas_id=canvas_id)
        async with paused_backup(site, 1, backup_type="incremental") as backup:
            await _dump(tables)
        child = await vault.wait_ended(backup.id)
        assert (child.status, child.parent_id) == ("complete", parent.id)
    async with tables_of(site.url) as tables:
        await _restore_dump(tables)
    async with site.replica(backup_key=OTHER_KEY, backup_keep=1), tables_of(site.url) as tables:
        assert (await vault.wait_ended(child.id)).status == "failed"
        await tables.execute(
            f"UPDATE backup SET created_at = created_at - interval '{age}' WHERE status IN ('complete', 'failed')"
        )
        assert (await vault.back_up(owner_id=owner_id)).status == "complete"
        await _insert_older_failed_backup(tables)
        await vault.wait_gone("older")
        assert (await vault.get(parent.id)).status == "complete"
    async with site.replica():
        while (await vault.get(child.id)).status is not BackupStatus.COMPLETE:
            await pause()
        assert (await vault.verify(child.id)).status == "passed"


async def test_failed_backup_is_adopted_by_a_request_if_this_replica_can_read_its_manifest(
    site: Site, small_objects: None
) -> None:
    """A verification and a restore adopt it, and refuse other failed backups with the reason. Proves R-BACKUP-15."""
    vault = site.vault
    async with _completed_after_dump(site) as complete:
        async with site.replica(backup_key=OTHER_KEY), tables_of(site.url) as tables:
            assert (await vault.wait_ended(complete.id)).status == "failed"
            with pytest.raises(Conflict, match="BACKUP_KEY is the key"):
                await vault.verify(complete.id)
            await _insert_older_failed_backup(tables)
            with pytest.raises(Conflict, match=r"the backup is failed, not complete$"):
                await vault.verify("older")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Adoption, "adopt_all", adopt_nothing)
            async with site.replica():
                assert (await vault.get(complete.id)).status == "failed"
                assert (await vault.verify(complete.id)).status == "passed"


async def test_replica_that_is_killed_after_the_manifest_leaves_a_complete_backup(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next replica completes the record, and writes nothing. Proves R-BACKUP-5.

    The backup is not adopted, so the next incremental backup builds on it.
    """
    vault = site.vault
    stored = asyncio.Event()

    async def wait_for_end(*_: object, **__: object) -> None:
        stored.set()
        await asyncio.Event().wait()

    async with site.replica():
        for _ in range(3):
            await vault.draw("a")
        with monkeypatch.context() as patch:
            patch.setattr(BackupWriter, "_complete", wait_for_end)
            backup = await vault.begin(owner_id=vault.client.me.user_id)
            async with asyncio.timeout(20):
                await stored.wait()
    before = _contents(vault.folder / backup.id)
    assert MANIFEST_NAME in before
    async with site.replica():
        ended = await vault.wait_ended(backup.id)
        assert (ended.status, ended.canvases, ended.adopted) == ("complete", 3, False)
        assert _contents(vault.folder / backup.id) == before
        later = await vault.back_up(owner_id=vault.client.me.user_id, backup_type="incremental")
        assert later.parent_id == backup.id


async def test_running_backup_without_a_folder_is_written_from_the_beginning(
    site: Site, small_objects: None
) -> None:
    """A backup that was running in the dump, and lost at the target, is written again. Proves R-BACKUP-5."""
    vault = site.vault
    async with _completed_after_dump(site) as complete:
        shutil.rmtree(vault.folder / complete.id)
        async with site.replica():
            ended = await vault.wait_ended(complete.id)
            assert (ended.status, ended.canvases, ended.adopted) == ("complete", 5, False)
            assert (await vault.verify(complete.id)).status == "passed"
