"""Backups while replicas start, stop and change their settings, and targets that fail."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from svgx_common import postgres
from svgx_common.contract.collab import ReplaceContentRequest
from svgx_common.contract.errors import Conflict, NotFound, Unavailable
from svgx_common.contract.storage.backups import BackupStatus
from svgx_common.postgres import load_queries
from svgx_devstack.ports import choose
from svgx_state.backups import adoption, deletion, restoring, runner, tasks
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.deletion import BackupRemover, Retention
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.manifest import MANIFEST_NAME
from svgx_state.backups.format.sealing import Seal, read_key
from svgx_state.backups.format.target import Target
from svgx_state.backups.restoring import BackupRestorer
from svgx_state.backups.tasks import Task, Tasks
from svgx_state.commands import backups as commands
from svgx_state.settings import StateSettings
from tests.clock import datetime_with_offset
from tests.integration.state.backup_site import KEY, OTHER_KEY, Site, paused_backup
from tests.integration.state.drawing import Pen
from tests.integration.state.vault import (
    database,
    lose,
    tables_of,
)
from tests.polling import pause
from tests.small_disk import small_disk

_COUNT_BUSY_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'svgx-state' AND state <> 'idle'
"""

_COUNT_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'svgx-state' AND wait_event_type = 'Lock'
"""

_COUNT_RUNNING_RESTORES = "SELECT count(*) FROM restore WHERE status = 'running'"


async def test_backup_is_unreadable_with_another_key_and_without_one(site: Site) -> None:
    """An encrypted backup needs its key, and shows no content without it. Proves R-BACKUP-4."""
    vault = site.vault
    async with site.replica():
        canvas_id = await vault.draw("element-in-clear-text")
        backup = await vault.back_up(canvas_id=canvas_id)
    stored = b"".join(path.read_bytes() for path in vault.objects(backup.id))
    assert b"element-in-clear-text" not in stored
    assert canvas_id.encode() not in stored
    async with site.replica(backup_key=""):
        with pytest.raises(Conflict, match="set BACKUP_KEY"):
            await vault.begin_restore(backup.id)
    async with site.replica(backup_key=OTHER_KEY):
        with pytest.raises(Conflict, match="and BACKUP_KEY is the key"):
            await vault.begin_restore(backup.id)
        assert (await vault.verify(backup.id)).status == "failed"


async def test_backups_of_a_lost_database_are_found_at_the_target(site: Site) -> None:
    """A new database lists the backups of the target and restores them, as after a disaster. Proves R-BACKUP-8."""
    vault = site.vault
    async with database(site.backing) as first, site.replica(postgres_url=first):
        canvas_id = await vault.draw("a")
        before = await vault.state(canvas_id)
        full = await vault.back_up()
        await vault.draw("b", canvas_id=canvas_id)
        after = await vault.state(canvas_id)
        increment = await vault.back_up(backup_type="incremental")
    async with database(site.backing) as second, site.replica(postgres_url=second):
        while len((await vault.page()).items) < 2:
            await pause()
        assert [each.id for each in (await vault.page()).items] == [increment.id, full.id]
        restore = await vault.restore("latest")
        assert (restore.backup_id, restore.status) == (increment.id, "complete")
        assert await vault.state(canvas_id) == after != before
        # Revisions are counted anew, so no incremental backup builds on a backup of the lost database.
        fresh = await vault.back_up(backup_type="incremental")
        assert fresh.backup_type == "full"
        with pytest.raises(Conflict, match="before this database"):
            await vault.begin(backup_type="incremental", base=increment.id)


async def test_backups_of_another_installation_are_neither_latest_nor_deleted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two databases that share a target keep their backups apart. Proves R-BACKUP-13."""
    vault = site.vault
    monkeypatch.setattr(runner, "RETENTION_SECONDS", 0.0)
    async with database(site.backing) as first, site.replica(postgres_url=first, backup_keep=1):
        await vault.draw("a")
        foreign = await vault.back_up()
    async with (
        database(site.backing) as second,
        tables_of(second) as tables,
        site.replica(postgres_url=second, backup_keep=1),
    ):
        while not (await vault.page()).items:
            await pause()
        assert (await vault.get("latest")).id == foreign.id
        with pytest.raises(NotFound):
            await vault.delete("latest")
        figures = load_queries("svgx_state")["backup_figures"].sql
        (row,) = await tables.fetch(figures)
        assert row["last_success"] == 0
        old = await vault.back_up()
        own = await vault.back_up()
        await vault.wait_gone(old.id)
        # A folder that is copied later, and has a newer backup.
        await tables.execute("UPDATE backup SET created_at = now() WHERE id = $1", foreign.id)
        assert (await vault.get("latest")).id == own.id
        listed = {each.id: each.adopted for each in (await vault.page()).items}
        assert listed == {own.id: False, foreign.id: True}
        assert (await vault.restore(foreign.id)).status == "complete"
        assert (vault.folder / foreign.id / MANIFEST_NAME).exists()


@pytest.mark.parametrize("part", [None, 0.5], ids=["no manifest", "half of the manifest"])
async def test_unfinished_backup_of_another_database_is_adopted_when_it_is_complete(
    site: Site, monkeypatch: pytest.MonkeyPatch, part: float | None
) -> None:
    """A replica adopts a folder at the target as a backup once the folder has a whole manifest. Proves R-BACKUP-8."""
    vault = site.vault
    monkeypatch.setattr(adoption, "REFUSED_SECONDS", 0.0)
    monkeypatch.setattr(runner, "RETENTION_SECONDS", 0.0)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    async with database(site.backing) as first, site.replica(postgres_url=first):
        backup = await vault.back_up(canvas_id=await vault.draw("a"))
    manifest = vault.folder / backup.id / MANIFEST_NAME
    whole = manifest.read_bytes()
    if part is None:
        manifest.unlink()
    else:
        manifest.write_bytes(whole[: int(len(whole) * part)])
    adopted_counts: asyncio.Queue[int] = asyncio.Queue()
    adopt_all = Adoption.adopt_all

    async def note_count(self: Adoption) -> int:
        adopted = await adopt_all(self)
        adopted_counts.put_nowait(adopted)
        return adopted

    monkeypatch.setattr(Adoption, "adopt_all", note_count)
    async with database(site.backing) as second, site.replica(postgres_url=second):
        assert await adopted_counts.get() == 0
        assert (await vault.page()).items == []
        manifest.write_bytes(whole)
        async with asyncio.timeout(30):
            while await adopted_counts.get() == 0:
                pass
        assert [each.id for each in (await vault.page()).items] == [backup.id]


def _add_unreadable_folder(site: Site) -> None:
    """Add a folder with a manifest that the target refuses to read."""
    folder = site.vault.folder / "unreadable"
    folder.mkdir()
    (folder / MANIFEST_NAME).symlink_to(MANIFEST_NAME)


async def test_folder_that_may_not_be_read_does_not_stop_the_retention(site: Site) -> None:
    """Old backups are deleted while the target refuses to read another folder. Proves R-BACKUP-5."""
    _add_unreadable_folder(site)
    async with site.replica(backup_keep=1):
        canvas_id = await site.vault.draw("a")
        old = await site.vault.back_up(canvas_id=canvas_id)
        await site.vault.back_up(canvas_id=canvas_id)
        async with asyncio.timeout(30):
            await site.vault.wait_gone(old.id)


async def test_full_disk_fails_the_backup_with_the_reason(site: Site, tmp_path: Path) -> None:
    """A backup that does not fit on the disk fails with the reason, and has no manifest. Proves R-BACKUP-4."""
    vault = site.vault
    with small_disk(tmp_path / "disk", "128k") as disk:
        async with site.replica(backup_url=f"file://{disk}"):
            canvas_id = await vault.draw("a")
            noise = secrets.token_hex(200 * 1024)
            await vault.client.append(Pen(canvas_id, "noise").draw("noise", noise))
            backup = await vault.back_up(canvas_id=canvas_id)
        assert backup.status == "failed"
        assert backup.error is not None
        assert "No space left on device" in backup.error
        assert not (disk / backup.id / MANIFEST_NAME).exists()


async def test_target_that_does_not_answer_fails_the_backup_with_the_reason(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record's error says that the target does not answer, and contains no secret.

    Proves R-BACKUP-4 and R-BACKUP-12.
    """
    monkeypatch.setattr("svgx_state.backups.format.target.RETRIES", 0)
    monkeypatch.setattr(runner, "LONGEST_OUTAGE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{choose()}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
    async with site.replica(backup_url="s3://bucket/backups"):
        backup = await site.vault.back_up(canvas_id=await site.vault.draw("a"))
    assert backup.status == "failed"
    assert backup.error is not None
    assert "the target does not answer" in backup.error
    assert "hidden-value" not in backup.error


async def _progress(metric: str, expected: float) -> None:
    """Wait until a metric of the progress has this value."""
    async with asyncio.timeout(20):
        while REGISTRY.get_sample_value(metric) != expected:
            await pause()


async def test_metrics_of_progress_show_running_work_of_any_process_and_end_at_0(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metrics have the progress of the records, so they show the work of a CronJob too. Proves R-OBS-2."""
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    async with site.replica(), tables_of(site.url) as tables:
        for _ in range(4):
            await site.vault.draw("a")
        async with paused_backup(site, 4) as backup:
            await _progress("svgx_engine_backup_progress", 0.5)
        assert (await site.vault.wait_ended(backup.id)).status == "complete"
        await _progress("svgx_engine_backup_progress", 0)
        # Now the records show work of another process.
        running = "UPDATE backup SET status = 'running', canvases = 1, canvases_total = 4"
        await tables.execute(running)
        await _progress("svgx_engine_backup_progress", 0.25)
        await tables.execute(
            "INSERT INTO restore (id, backup_id, status, requested_by, canvases_total, canvases)"
            " VALUES ('restore', $1, 'running', 'ann', 4, 3)",
            backup.id,
        )
        await _progress("svgx_engine_restore_progress", 0.75)
        await tables.execute("UPDATE restore SET status = 'complete'")
        await _progress("svgx_engine_restore_progress", 0)


async def test_interrupted_backup_is_continued_by_another_replica(
    site: Site, small_objects: None
) -> None:
    """Another replica keeps the steps before the step with the first damaged object, and writes the other steps.

    Proves R-BACKUP-5.
    """
    vault = site.vault
    async with site.replica():
        drawn = [await vault.draw("a") for _ in range(40)]
        states = {each: await vault.state(each) for each in drawn}
        pausing = AsyncExitStack()
        backup = await pausing.enter_async_context(paused_backup(site, 10))
        with pytest.raises(Conflict, match=backup.id):
            await vault.begin()
    first = {path.name for path in vault.objects(backup.id) if "-1-" in path.name}
    damaged = vault.objects(backup.id, "canvas-000004")[0]
    damaged.write_bytes(damaged.read_bytes()[::-1])
    await pausing.aclose()
    async with site.replica():
        ended = await vault.wait_ended(backup.id)
        assert (ended.status, ended.canvases) == ("complete", 40)
        reused = {path.name for path in vault.objects(backup.id) if "-1-" in path.name}
        assert len(reused) == 6 < len(first)
        assert (await vault.verify(backup.id)).canvases == 40
        async with tables_of(site.url) as tables:
            await lose(tables, *drawn)
        assert (await vault.restore(backup.id)).status == "complete"
        assert {each: await vault.state(each) for each in drawn} == states


@pytest.mark.parametrize(
    ("first", "second"),
    [("", KEY), (KEY, OTHER_KEY), (KEY, "")],
    ids=["set", "replaced", "removed"],
)
async def test_backup_that_is_continued_with_another_key_can_be_restored(
    site: Site, small_objects: None, first: str, second: str
) -> None:
    """A replica with another BACKUP_KEY keeps no object of the first replica. Proves R-BACKUP-5.

    The record of the complete backup has the encryption, the format and the version of the manifest.
    """
    vault = site.vault
    async with site.replica(backup_key=first):
        drawn = [await vault.draw("a") for _ in range(20)]
        states = {each: await vault.state(each) for each in drawn}
        pausing = AsyncExitStack()
        backup = await pausing.enter_async_context(paused_backup(site, 10))
        assert backup.encrypted is bool(first)
    async with tables_of(site.url) as tables:
        await tables.execute(
            "UPDATE backup SET format = 0, version = 'older' WHERE id = $1", backup.id
        )
    await pausing.aclose()
    async with site.replica(backup_key=second), tables_of(site.url) as tables:
        ended = await vault.wait_ended(backup.id)
        assert (ended.status, ended.canvases, ended.error) == ("complete", 20, None)
        assert (ended.encrypted, ended.format) == (bool(second), backup.format)
        assert ended.version == backup.version
        assert not [path for path in vault.objects(backup.id) if "-1-" in path.name]
        assert (await vault.verify(backup.id)).status == "passed"
        await lose(tables, *drawn)
        assert (await vault.restore(backup.id)).status == "complete"
        assert {each: await vault.state(each) for each in drawn} == states


def _remove_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()


def _damage_last_index(folder: Path) -> None:
    path = max(folder.glob("index*"))
    path.write_bytes(path.read_bytes()[::-1])


@dataclass(frozen=True, slots=True)
class ParentFault:
    """A reason for which a replica cannot read the parent of a backup.

    `key` and `folder` are the settings of the replica that makes the backup, `damage` changes the folder of the full
    backup on which the parent builds, and `message` is a part of the error.
    """

    message: str
    key: str = KEY
    folder: str = ""
    damage: Callable[[Path], None] = lambda _: None


PARENT_FAULTS = {
    "BACKUP_KEY is replaced": ParentFault("BACKUP_KEY is the key", key=OTHER_KEY),
    "BACKUP_KEY is removed": ParentFault("set BACKUP_KEY", key=""),
    "BACKUP_URL is changed": ParentFault("at the target", folder="elsewhere"),
    "the full backup is missing": ParentFault("at the target", damage=_remove_manifest),
}


@pytest.mark.parametrize("fault", PARENT_FAULTS.values(), ids=PARENT_FAULTS)
async def test_incremental_backup_whose_parent_cannot_be_read_becomes_a_full_one(
    site: Site, fault: ParentFault
) -> None:
    """The next incremental backup builds on this full one. A backup with a named base fails. Proves R-BACKUP-2."""
    vault = site.vault
    elsewhere = vault.folder / fault.folder
    async with site.replica():
        canvas_id = await vault.draw("a")
        full = await vault.back_up(canvas_id=canvas_id)
        await vault.draw("b", canvas_id=canvas_id)
        parent = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        assert (parent.backup_type, parent.parent_id) == ("incremental", full.id)
    fault.damage(vault.folder / full.id)
    async with site.replica(backup_key=fault.key, backup_url=f"file://{elsewhere}"):
        named = await vault.back_up(canvas_id=canvas_id, backup_type="incremental", base=parent.id)
        assert (named.status, named.parent_id) == ("failed", parent.id)
        assert named.error is not None
        assert fault.message in named.error
        backup = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        assert (backup.status, backup.backup_type, backup.parent_id) == ("complete", "full", None)
        assert backup.changed == 1
        assert (await vault.verify(backup.id)).status == "passed"
        later = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        assert (later.status, later.parent_id, later.changed) == ("complete", backup.id, 0)


@pytest.mark.parametrize(
    ("key", "damage"),
    [(KEY, _damage_last_index), (OTHER_KEY, lambda _: None)],
    ids=["the index of the parent is damaged", "BACKUP_KEY is replaced"],
)
async def test_incremental_backup_that_loses_its_parent_is_written_again_in_full(
    site: Site, small_objects: None, key: str, damage: Callable[[Path], None]
) -> None:
    """A full backup keeps no object of the incremental backup that it was before. Proves R-BACKUP-2."""
    vault = site.vault
    owner = vault.client.me.user_id
    async with site.replica():
        drawn = [await vault.draw("a") for _ in range(20)]
        parent = await vault.back_up(owner_id=owner)
        for each in drawn:
            await vault.draw("b", canvas_id=each)
        states = {each: await vault.state(each) for each in drawn}
        pausing = AsyncExitStack()
        pause_of = paused_backup(site, 10, backup_type="incremental")
        backup = await pausing.enter_async_context(pause_of)
        assert (backup.backup_type, backup.parent_id) == ("incremental", parent.id)
    damage(vault.folder / parent.id)
    await pausing.aclose()
    async with site.replica(backup_key=key), tables_of(site.url) as tables:
        ended = await vault.wait_ended(backup.id)
        assert (ended.status, ended.backup_type, ended.parent_id) == ("complete", "full", None)
        assert (ended.canvases, ended.changed) == (20, 20)
        assert (await vault.verify(backup.id)).status == "passed"
        await lose(tables, *drawn)
        assert (await vault.restore(backup.id)).status == "complete"
        assert {each: await vault.state(each) for each in drawn} == states


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_restore_continues_after_an_outage_of_a_server(
    site: Site, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """A restore waits for NATS and for PostgreSQL, and then restores each canvas.

    The connections to NATS return at different times, and collab's may be the last one. Proves R-BACKUP-12.
    """
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(restoring, "EDIT_PAUSE_SECONDS", 1.0)
    vault, process = site.vault, site.backing.process(server)
    waits = asyncio.Event()
    request_edit, reread = BackupRestorer._request_edit, Tasks.reread

    async def stop_server(restorer: BackupRestorer, request: ReplaceContentRequest) -> None:
        monkeypatch.setattr(BackupRestorer, "_request_edit", request_edit)
        await process.stop()
        await request_edit(restorer, request)

    async def note_wait(self: Tasks, task: Task) -> Task:
        waits.set()
        return await reread(self, task)

    async with site.replica(), asyncio.timeout(100):
        changed = [await vault.draw("a") for _ in range(3)]
        backup = await vault.back_up(owner_id=vault.client.me.user_id)
        for canvas_id in changed:
            await vault.draw("b", canvas_id=canvas_id)
        monkeypatch.setattr(BackupRestorer, "_request_edit", stop_server)
        monkeypatch.setattr(Tasks, "reread", note_wait)
        restore = await vault.begin_restore(backup.id)
        try:
            async with asyncio.timeout(20):
                await waits.wait()
        finally:
            await process.start()
            await process.wait_ready()
        # The table is read directly, because the connections to NATS return at different times.
        async with tables_of(site.url) as tables:
            while await tables.fetchval(_COUNT_RUNNING_RESTORES):
                await pause()
            rows = await tables.fetch(
                "SELECT canvas_id, outcome FROM restored_canvas WHERE restore_id = $1", restore.id
            )
        assert dict(map(tuple, rows)) == dict.fromkeys(changed, "replaced")


async def test_replica_that_lost_its_task_writes_no_more(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica changes nothing more after another replica has taken the task of the backup.

    Proves R-BACKUP-5.
    """
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.1)
    vault = site.vault
    async with site.replica(), tables_of(site.url) as tables:
        for _ in range(30):
            await vault.draw("a")
        async with paused_backup(site, 6) as backup:
            await tables.execute("UPDATE backup_task SET runner = 'another', heartbeat_at = now()")
        while await tables.fetchval(_COUNT_BUSY_CONNECTIONS):
            await pause()
        assert not (vault.folder / backup.id / MANIFEST_NAME).exists()
        assert (await vault.get(backup.id)).status is BackupStatus.RUNNING
        await tables.execute("UPDATE backup_task SET heartbeat_at = NULL")
        ended = await vault.wait_ended(backup.id)
        assert (ended.status, ended.canvases) == ("complete", 30)


async def test_task_with_a_lease_from_after_the_clock_is_continued(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica ended, and the clock was set back by an hour: the lease does not last longer. Proves R-BACKUP-5."""
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.1)
    vault = site.vault
    async with site.replica(), tables_of(site.url) as tables:
        for _ in range(30):
            await vault.draw("a")
        async with paused_backup(site, 6) as backup:
            await tables.execute(
                "UPDATE backup_task SET runner = 'ended', heartbeat_at = now() + interval '1 hour'"
            )
        assert (await vault.wait_ended(backup.id)).status is BackupStatus.COMPLETE


async def test_retention_deletes_old_backups_with_their_objects(site: Site) -> None:
    """After each backup, backups beyond BACKUP_KEEP are deleted, except for those on which a kept backup builds.

    Proves R-BACKUP-5.
    """
    vault = site.vault
    async with database(site.backing) as url, site.replica(postgres_url=url, backup_keep=2):
        canvas_id = await vault.draw("a")
        old = await vault.back_up(canvas_id=canvas_id)
        parent = await vault.back_up(canvas_id=canvas_id)
        first = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        await vault.wait_gone(old.id)
        await vault.draw("b", canvas_id=canvas_id)
        second = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        assert [each.id for each in (await vault.page()).items] == [second.id, first.id, parent.id]
        assert not vault.objects(old.id)


async def test_clock_of_a_replica_that_is_ahead_deletes_no_kept_backup(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backups of the last `BACKUP_KEEP_DAYS` days are kept: the days of PostgreSQL's clock. Proves R-BACKUP-5."""
    monkeypatch.setattr(deletion, "datetime", datetime_with_offset(timedelta(days=40)))
    vault = site.vault
    async with database(site.backing) as url, site.replica(postgres_url=url, backup_keep_days=30):
        canvas_id = await vault.draw("a")
        made = [await vault.back_up(canvas_id=canvas_id) for _ in range(3)]
        kept = [each.id for each in reversed(made)]
        assert [each.id for each in (await vault.page()).items] == kept


async def test_request_for_a_backup_without_a_target_names_the_setting(site: Site) -> None:
    """Without BACKUP_URL, the error of a request for a backup names this setting. Proves R-BACKUP-3."""
    async with site.replica(backup_url=""):
        with pytest.raises(Conflict, match="BACKUP_URL"):
            await site.vault.begin()


async def _start(site: Site, *arguments: str) -> asyncio.subprocess.Process:
    """Start `svgx-state` with a command."""
    environment = {
        "NATS_URL": site.backing.nats_url("state"),
        "POSTGRES_URL": site.url,
        "BACKUP_URL": f"file://{site.vault.folder}",
        "BACKUP_KEY": KEY,
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "svgx_state", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _outputs(site: Site, *arguments: str) -> tuple[int | None, list[dict[str, object]], str]:
    """Run `svgx-state` with a command. Return its status, the records that it prints, and its errors."""
    process = await _start(site, *arguments)
    output, errors = await process.communicate()
    records = [json.loads(line) for line in output.splitlines()]
    return process.returncode, records, errors.decode()


async def _command(site: Site, *arguments: str) -> tuple[int | None, list[dict[str, object]]]:
    """Run `svgx-state` with a command. Return its status and the records that it prints."""
    status, records, _ = await _outputs(site, *arguments)
    return status, records


async def test_commands_back_up_and_restore_without_a_replica(site: Site) -> None:
    """The commands make, verify and restore backups while no replica runs. Proves R-BACKUP-9."""
    async with site.replica():
        canvas_id = await site.vault.draw("a")
    async with tables_of(site.url) as tables:
        arguments = ("--state-type", "canvas", "--canvas-id", canvas_id, "--verify")
        status, (made,) = await _command(site, "backup", *arguments)
        assert (status, made["status"], made["canvases"]) == (0, "complete", 1)
        assert isinstance(made["verification"], dict)
        assert made["verification"]["status"] == "passed"
        await lose(tables, canvas_id)
        status, (restored,) = await _command(site, "restore", str(made["id"]))
        assert (status, restored["status"], restored["backup_id"]) == (0, "complete", made["id"])
        assert await tables.fetchval("SELECT revision FROM canvas WHERE id = $1", canvas_id) == 1


async def test_command_restores_the_newest_backup_only_if_it_has_the_accounts(site: Site) -> None:
    """`restore latest` names the backup with the accounts if the newest one has none. Proves R-BACKUP-14."""
    async with database(site.backing) as lost, site.replica(postgres_url=lost):
        canvas_id = await site.vault.draw("a")
        complete = await site.vault.back_up(state_type="all")
        newest = await site.vault.back_up()
    status, output, errors = await _outputs(site, "restore", "latest")
    assert (status, output) == (1, [])
    assert f"restore {complete.id}, and then {newest.id}" in errors
    status, (restored,), _ = await _outputs(site, "restore", complete.id)
    assert (status, restored["backup_id"]) == (0, complete.id)
    status, (restored,), errors = await _outputs(
        site, "restore", "latest", "--canvas-id", canvas_id
    )
    assert (status, restored["backup_id"]) == (0, newest.id)
    assert f"restoring the adopted backup {newest.id}" in errors


async def test_folder_that_may_not_be_read_does_not_stop_the_commands(site: Site) -> None:
    """The commands use the other backups, and warn of the folder. Proves R-BACKUP-8 and R-BACKUP-9."""
    async with database(site.backing) as lost, site.replica(postgres_url=lost):
        await site.vault.draw("a")
        backup = await site.vault.back_up()
    _add_unreadable_folder(site)
    async with database(site.backing) as empty:
        for arguments in (("restore", "latest"), ("backups",), ("verify", "latest")):
            status, (record,), errors = await _outputs(replace(site, url=empty), *arguments)
            assert (status, record["status"]) == (0, "complete")
            assert record.get("backup_id", record["id"]) == backup.id
            assert "cannot read unreadable/manifest.json" in errors


@pytest.mark.parametrize("command", ["restore", "verify"])
async def test_command_with_an_id_needs_no_list_of_the_target(site: Site, command: str) -> None:
    """`restore ID` and `verify ID` read this backup only. Proves R-BACKUP-9."""
    async with database(site.backing) as lost, site.replica(postgres_url=lost):
        await site.vault.draw("a")
        backup = await site.vault.back_up()
        await site.vault.back_up()
    async with database(site.backing) as empty:
        status, _ = await _command(replace(site, url=empty), command, backup.id)
        assert status == 0
        async with tables_of(empty) as tables:
            known = await tables.fetch("SELECT id FROM backup")
        assert [row["id"] for row in known] == [backup.id]


@pytest.mark.parametrize("same", [True, False])
async def test_command_completes_the_backup_of_a_killed_command(site: Site, *, same: bool) -> None:
    """A CronJob starts a killed command again. The new process completes and verifies the backup. Proves R-BACKUP-9.

    It completes another running backup too, and then makes its own.
    """
    async with site.replica():
        drawn = [await site.vault.draw("a") for _ in range(2)]
    options = ("--state-type", "canvas", "--verify", "--canvas-id")
    async with tables_of(site.url) as tables, tables_of(site.url) as lock:
        async with lock.transaction():
            await lock.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
            killed = await _start(site, "backup", *options, drawn[0])
            while not await tables.fetchval(_COUNT_WAITING):
                await pause()
            killed.kill()
            await killed.communicate()
        await tables.execute("UPDATE backup_task SET heartbeat_at = NULL")
        status, (made,) = await _command(site, "backup", *options, drawn[0 if same else 1])
        assert (status, made["status"], made["canvases"]) == (0, "complete", 1)
        assert isinstance(made["verification"], dict)
        assert made["verification"]["status"] == "passed"
        complete = await tables.fetch(
            "SELECT canvas_id FROM backup WHERE canvas_id = ANY ($1) AND status = 'complete'", drawn
        )
        assert {row["canvas_id"] for row in complete} == set(drawn[: 1 if same else 2])


@pytest.mark.parametrize(("server", "seconds"), [("NATS", 1.0), ("PostgreSQL", 3.0)])
async def test_command_names_the_server_that_does_not_answer_in_time(
    site: Site, monkeypatch: pytest.MonkeyPatch, server: str, seconds: float
) -> None:
    """A command waits for NATS and for PostgreSQL at most `CONNECT_SECONDS`. Proves R-BACKUP-9."""
    monkeypatch.setattr(commands, "CONNECT_SECONDS", seconds)
    urls = {"nats_url": site.backing.nats_url("state"), "postgres_url": site.url}
    if server == "NATS":
        urls["nats_url"] = f"nats://127.0.0.1:{choose()}"
    else:
        urls["postgres_url"] = f"postgresql://state:state@127.0.0.1:{choose()}/svgx"
    settings = StateSettings.model_validate(
        {**urls, "redis_url": site.backing.redis_url, "backup_url": f"file://{site.vault.folder}"}
    )
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable, match=f"{server} was not ready within {seconds:.0f} s"):
            async with commands._open(settings):
                pass


async def test_command_waits_for_a_migration_longer_than_for_a_server(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command waits for a replica's migration without a limit.

    `CONNECT_SECONDS` limits only the wait for NATS and PostgreSQL. Proves R-CONFIG-8.
    """
    monkeypatch.setattr(commands, "CONNECT_SECONDS", 3.0)
    settings = StateSettings.model_validate(
        {
            "nats_url": site.backing.nats_url("state"),
            "postgres_url": site.url,
            "redis_url": site.backing.redis_url,
            "backup_url": f"file://{site.vault.folder}",
        }
    )

    async def open_and_close() -> None:
        async with commands._open(settings):
            pass

    async with tables_of(site.url) as tables:
        await tables.execute("SELECT pg_advisory_lock(hashtext('svgx.state'))")
        opening = asyncio.create_task(open_and_close())
        await tables.execute("SELECT pg_sleep(3.5)")
        assert not opening.done()
        await tables.execute("SELECT pg_advisory_unlock(hashtext('svgx.state'))")
        await opening


async def test_replica_that_lost_its_task_before_the_manifest_leaves_a_complete_backup_as_it_is(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is frozen before it stores the manifest does not replace the manifest of another replica.

    The other replica has written some objects again, so the first replica's manifest lacks them. Proves R-BACKUP-5.
    """
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 600.0)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(runner, "MAX_RUNNING", 1)
    vault = site.vault
    finish = BackupWriter._finish
    frozen, resumed, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def finish_late(*arguments: Any) -> None:
        monkeypatch.setattr(BackupWriter, "_finish", finish)
        frozen.set()
        await resumed.wait()
        try:
            await finish(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(BackupWriter, "_finish", finish_late)
    async with site.replica(), tables_of(site.url) as tables, asyncio.timeout(60):
        canvas_id = await vault.draw("a")
        backup = await vault.begin(canvas_id=canvas_id)
        await frozen.wait()
        (damaged,) = vault.objects(backup.id, "canvas")
        damaged.write_bytes(b"damaged")
        async with site.replica():
            await tables.execute("UPDATE backup_task SET heartbeat_at = NULL")
            assert (await vault.wait_ended(backup.id)).status == "complete"
            stored = {path.name: path.read_bytes() for path in vault.objects(backup.id)}
            resumed.set()
            await ended.wait()
            assert {path.name: path.read_bytes() for path in vault.objects(backup.id)} == stored
            assert (await vault.verify(backup.id)).status == "passed"


async def test_retention_keeps_a_backup_until_its_restore_has_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retention requests no deletion of a backup that a restore reads. Proves R-BACKUP-5."""
    vault = site.vault
    request_edit = BackupRestorer._request_edit
    stopped, resumed = asyncio.Event(), asyncio.Event()

    async def request_late(restorer: BackupRestorer, request: ReplaceContentRequest) -> None:
        stopped.set()
        await resumed.wait()
        await request_edit(restorer, request)

    monkeypatch.setattr(BackupRestorer, "_request_edit", request_late)
    archive = Archive(Target.open(f"file://{vault.folder}"), Seal(read_key(KEY)))
    async with (
        asyncio.timeout(60),
        database(site.backing) as url,
        site.replica(postgres_url=url),
        tables_of(url) as tables,
        postgres.connect(url, schema="state", package="svgx_state", pool_size=2) as pool,
    ):
        remover = BackupRemover(pool, Tasks(pool), archive, Retention(count=1, days=0))
        canvas_id = await vault.draw("a")
        old = await vault.back_up(canvas_id=canvas_id)
        await vault.draw("b", canvas_id=canvas_id)
        await vault.back_up(canvas_id=canvas_id)
        restore = await vault.begin_restore(old.id)
        await stopped.wait()
        assert await remover.apply_retention() == 0
        assert (await vault.get(old.id)).status == "complete"
        assert await tables.fetchval("SELECT array_agg(kind) FROM backup_task") == ["restore"]
        resumed.set()
        assert (await vault.wait_restored(restore.id)).status == "complete"
        assert await remover.apply_retention() == 1
