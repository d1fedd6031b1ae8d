"""Backups that are made while a deleted canvas is being removed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import NotFound
from svgx_devstack import DevStack
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.format.records import CanvasFacts, CanvasRecord, IndexEntry
from svgx_state.backups.tasks import Task
from svgx_state.deletion import purge as purge_module
from svgx_state.deletion.purge import Purge
from tests.integration.state.drawing import elements
from tests.integration.state.service import Client, Tables, replica
from tests.integration.state.vault import Vault, lose, run_stand_ins, tables_of


@pytest.fixture(scope="module")
async def running(backing: DevStack, own_database: str, folder: Path) -> AsyncIterator[None]:
    """A replica of the state service that stores its backups in `folder`."""
    async with replica(
        backing, postgres_url=own_database, backup_url=f"file://{folder}", worker_count=1
    ):
        yield


@pytest.fixture
async def vault(
    backing: DevStack, client: Client, running: None, folder: Path
) -> AsyncIterator[Vault]:
    """A client of the operations on backups, with stand-ins for auth and collab."""
    async with run_stand_ins(backing, client):
        yield Vault(client, folder)


@pytest.fixture
async def tables(own_database: str, running: None) -> AsyncIterator[Tables]:
    """A connection to the service's tables."""
    async with tables_of(own_database) as connection:
        yield connection


async def _restored_elements(vault: Vault, tables: Tables, backup_id: str, canvas_id: str) -> str:
    """Restore a lost canvas from a backup. Return the names of its elements."""
    restore = await vault.restore(backup_id, canvas_id)
    assert await vault.outcomes(restore.id) == {canvas_id: "created"}
    await tables.execute("UPDATE canvas SET deleted_at = NULL WHERE id = $1", canvas_id)
    return "".join(sorted(elements((await vault.client.load(canvas_id)).updates)))


@pytest.mark.parametrize("backup_type", ["full", "incremental"])
@pytest.mark.parametrize("moment", ["before the backup", "before the content is read"])
async def test_canvas_is_in_no_backup_after_its_removal_has_begun(
    vault: Vault,
    own_database: str,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    *,
    moment: str,
    backup_type: str,
) -> None:
    """A backup never has the remaining rows of a canvas that is being removed. An earlier backup has the whole canvas.

    Proves R-BACKUP-1 and R-LIFE-11.
    """
    monkeypatch.setattr(purge_module, "STEP_ROWS", 3)
    owner = vault.client.me.user_id
    removed, kept = await vault.draw(*"abcdefgh"), await vault.draw("a")
    before_deletion = await vault.back_up(owner_id=owner)
    await vault.draw("i", canvas_id=removed)
    await vault.client.delete(removed)
    after_deletion = await vault.back_up(owner_id=owner, backup_type=backup_type)
    read, finish = BackupWriter._read, BackupWriter._finish
    progress: list[float] = []

    async def note_progress_and_finish(writer: BackupWriter, task: Task, *written: Any) -> None:
        progress.append((await vault.get(task.subject_id)).progress)
        await finish(writer, task, *written)

    monkeypatch.setattr(BackupWriter, "_finish", note_progress_and_finish)
    async with postgres.connect(
        own_database, schema="state", package="svgx_state", pool_size=2
    ) as pool:
        remover = Purge(pool, retention_days=30)

        async def begin_removal() -> None:
            await remover.begin(removed)
            assert (await remover.step_of(removed)).rows == 3

        async def begin_removal_and_read(
            writer: BackupWriter,
            facts: CanvasFacts,
            revision: int,
            parent_entry: IndexEntry | None,
        ) -> CanvasRecord | None:
            if facts.id == removed:
                await begin_removal()
            return await read(writer, facts, revision, parent_entry)

        base = None
        if moment == "before the backup":
            await begin_removal()
            with pytest.raises(NotFound):
                await vault.begin(canvas_id=removed)
        else:
            monkeypatch.setattr(BackupWriter, "_read", begin_removal_and_read)
            if backup_type == "incremental":
                # The revision has changed since this backup, so the new backup reads the content.
                base = before_deletion.id
        late = await vault.back_up(owner_id=owner, backup_type=backup_type, base=base)
    assert (late.status, late.canvases) == ("complete", 1)
    if moment == "before the backup":
        assert progress[-1] == 1.0
    await lose(tables, removed, kept)
    restore = await vault.restore(late.id)
    assert await vault.outcomes(restore.id) == {kept: "created"}
    assert await _restored_elements(vault, tables, before_deletion.id, removed) == "abcdefgh"
    await lose(tables, removed)
    assert await _restored_elements(vault, tables, after_deletion.id, removed) == "abcdefghi"
