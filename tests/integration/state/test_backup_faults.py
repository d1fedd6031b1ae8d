"""Damaged and foreign backups, and restores that fail half-way. The backups are encrypted."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Conflict, NotFound, Unavailable
from svgx_common.contract.state import CanvasRequest, Committed, Entry
from svgx_common.contract.storage.backups import RestoreOutcome
from svgx_common.contract.storage.deletion import PURGE_CANVAS, RESTORE_CANVAS
from svgx_common.database.migrations import migrations_of
from svgx_devstack import DevStack
from svgx_state.backups import restoring
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.chain import StoredCanvas
from svgx_state.backups.format.manifest import MANIFEST_NAME
from svgx_state.backups.format.sealing import Seal, read_key
from svgx_state.backups.format.target import Target, TargetFailed
from svgx_state.backups.restoring import BackupRestorer
from svgx_state.backups.tasks import Task
from svgx_state.deletion import purge
from svgx_state.deletion.purge import Purge, PurgeStep
from svgx_state.journal import Journal
from tests.integration.state.drawing import elements
from tests.integration.state.fresh_tables import new_schema
from tests.integration.state.service import Client, Tables, replica
from tests.integration.state.vault import (
    ADMIN,
    StandIns,
    Vault,
    database,
    lose,
    run_stand_ins,
    tables_of,
)

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
async def stand_ins(backing: DevStack, client: Client) -> AsyncIterator[StandIns]:
    """Stand-ins for auth and collab."""
    async with run_stand_ins(backing, client) as answering:
        yield answering


@pytest.fixture
async def tables(own_database: str) -> AsyncIterator[Tables]:
    """A connection to the service's tables. The tables exist once a replica has started."""
    async with tables_of(own_database) as connection:
        yield connection


@pytest.fixture(scope="module")
async def running(backing: DevStack, own_database: str, folder: Path) -> AsyncIterator[None]:
    """A replica with a target and a key. It removes no canvases in the background, because the tests do that."""
    url = f"file://{folder}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(purge, "PERIOD_SECONDS", 3600.0)
        async with replica(
            backing, postgres_url=own_database, backup_url=url, backup_key=KEY, worker_count=1
        ):
            yield


@pytest.fixture
async def vault(client: Client, running: None, folder: Path) -> Vault:
    """A client of the operations on backups."""
    return Vault(client, folder)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _damage_object(damage: Callable[[Path], object]) -> Callable[[Vault, str], None]:
    def inflict(vault: Vault, backup_id: str) -> None:
        damage(vault.objects(backup_id, "canvas")[0])

    return inflict


def _edit_envelope(**changes: object) -> Callable[[Vault, str], None]:
    def edit(vault: Vault, backup_id: str) -> None:
        path = vault.folder / backup_id / MANIFEST_NAME
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    return edit


def _swap_objects(vault: Vault, backup_id: str) -> None:
    first, second = vault.objects(backup_id, "canvas")[0], vault.objects(backup_id, "index")[0]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def _cut_body(vault: Vault, backup_id: str) -> None:
    path = vault.folder / backup_id / MANIFEST_NAME
    envelope = json.loads(path.read_bytes())
    path.write_text(json.dumps({**envelope, "body": envelope["body"][:-8]}))


DAMAGED_OBJECTS: dict[str, tuple[Callable[[Vault, str], object], str]] = {
    "a truncated object": (_damage_object(_truncate), "bytes instead of"),
    "a flipped byte": (_damage_object(_flip), "does not match its checksum"),
    "a missing object": (_damage_object(Path.unlink), "is missing"),
    "an empty object": (_damage_object(lambda path: path.write_bytes(b"")), "0 bytes instead of"),
    "swapped objects": (_swap_objects, "instead of"),
}

UNUSABLE_MANIFESTS: dict[str, tuple[Callable[[Vault, str], object], str]] = {
    "a manifest that is no JSON": (
        lambda v, b: (v.folder / b / MANIFEST_NAME).write_text("x"),
        "damaged",
    ),
    "a missing manifest": (
        lambda v, b: (v.folder / b / MANIFEST_NAME).unlink(),
        "no complete backup",
    ),
    "a manifest of another product": (_edit_envelope(product="other"), "another product"),
    "a manifest of another backup": (_edit_envelope(backup_id="other"), "or another backup"),
    "a newer format": (_edit_envelope(format=2, version="9.1.0"), "use version 9.1.0"),
    "another cipher": (_edit_envelope(encryption={"cipher": "X", "key_id": "k"}), "'X'"),
    "another key": (
        _edit_envelope(encryption={"cipher": "AES-256-GCM", "key_id": "0123456789abcdef"}),
        "with the key 0123456789abcdef, and BACKUP_KEY is the key",
    ),
    "a manifest without encryption": (_edit_envelope(encryption=None), "unset it"),
    "a cut manifest": (_cut_body, "the manifest of .* is damaged"),
    "a manifest with another checksum": (_edit_envelope(sha256="0" * 64), "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGED_OBJECTS)
async def test_damaged_backup_fails_its_verification_and_is_not_restored(
    vault: Vault, stand_ins: StandIns, damage: str
) -> None:
    """The verification of a damaged backup fails with the reason, and a restore of it changes nothing.

    Proves R-BACKUP-4.
    """
    inflict, reason = DAMAGED_OBJECTS[damage]
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(canvas_id=canvas_id)
    assert backup.encrypted
    assert (await vault.verify(backup.id)).status == "passed"
    inflict(vault, backup.id)
    verification = await vault.verify(backup.id)
    assert verification.status == "failed"
    assert verification.detail is not None
    assert reason in verification.detail
    await vault.draw("b", canvas_id=canvas_id)
    before = await vault.state(canvas_id)
    restore = await vault.restore(backup.id)
    assert (restore.status, restore.verified, restore.error) == (
        "refused",
        False,
        verification.detail,
    )
    assert await vault.state(canvas_id) == before
    assert stand_ins.replaced == []


@pytest.mark.parametrize("damage", UNUSABLE_MANIFESTS)
async def test_backup_with_an_unusable_manifest_is_refused_before_its_restore_begins(
    vault: Vault, damage: str
) -> None:
    """The refusal names the fault of the manifest. Proves R-BACKUP-4."""
    inflict, reason = UNUSABLE_MANIFESTS[damage]
    backup = await vault.back_up(canvas_id=await vault.draw("a"))
    inflict(vault, backup.id)
    with pytest.raises(Conflict, match=reason):
        await vault.begin_restore(backup.id)
    assert (await vault.verify(backup.id)).status == "failed"


async def test_incremental_backup_without_its_parent_is_refused(vault: Vault) -> None:
    """When its parent's files are missing, an incremental backup is refused with the parent's id. Proves R-BACKUP-4."""
    canvas_id = await vault.draw("a")
    parent = await vault.back_up(canvas_id=canvas_id)
    await vault.draw("b", canvas_id=canvas_id)
    child = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
    shutil.rmtree(vault.folder / parent.id)
    with pytest.raises(Conflict, match=parent.id):
        await vault.begin_restore(child.id)
    verification = await vault.verify(child.id)
    assert verification.detail is not None
    assert parent.id in verification.detail
    failed = await vault.back_up(canvas_id=canvas_id, backup_type="incremental", base=child.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert parent.id in failed.error


async def test_unknown_backup_is_not_found(vault: Vault) -> None:
    """Each operation answers `NotFound` for a backup that is neither in the database nor at the target.

    Proves R-BACKUP-3.
    """
    for request in (vault.begin_restore, vault.get, vault.delete, vault.verify):
        with pytest.raises(NotFound):
            await request("unknown")


async def test_restore_that_failed_half_way_lists_the_restored_canvases(
    backing: DevStack, vault: Vault, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcomes name each canvas, and a repeated restore completes the rest. Proves R-BACKUP-7."""
    lost, changed = await vault.draw("a"), await vault.draw("a")
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await lose(tables, lost)
    await vault.draw("b", canvas_id=changed)
    monkeypatch.setattr(restoring, "EDIT_PAUSE_SECONDS", 0.0)
    # Collab does not run, so the existing canvas cannot be edited.
    restore = await vault.restore(backup.id)
    assert (restore.status, restore.canvases, restore.failed) == ("partial", 2, 1)
    assert await vault.outcomes(restore.id) == {lost: "created", changed: "failed"}
    async with run_stand_ins(backing, vault.client):
        restore = await vault.restore(backup.id)
    assert restore.status == "complete"
    assert await vault.outcomes(restore.id) == {lost: "unchanged", changed: "replaced"}


LEFT_CANVASES = {
    "failed": (0, [("r1", "failed")], True),
    "not listed": (0, [], True),
    "failed, and unchanged later": (0, [("r1", "failed"), ("r2", "unchanged")], True),
    "lost after an earlier restore": (0, [("r0", "created"), ("r1", "failed")], True),
    "created": (0, [("r1", "created")], False),
    "failed, and undeleted later": (0, [("r1", "failed"), ("r2", "undeleted")], False),
    "failed, but with content": (1, [("r1", "failed")], False),
}
"""Deleted canvases that the restore r1 of an earlier version has created: the revision, the outcomes, and whether the
canvas is unfinished."""


async def test_canvases_that_an_earlier_version_left_unfinished_are_found(
    backing: DevStack,
) -> None:
    """The migration finds the canvases that a restore has created and not completed. Proves R-BACKUP-7."""
    migration = next(
        each for each in migrations_of("svgx_state") if "unfinished_restores" in each.name
    )
    async with new_schema(backing) as fresh:
        tables = fresh.tables
        await tables.execute("ALTER TABLE canvas DROP COLUMN hidden_at")
        for restore_id in ("r0", "r1", "r2"):
            await tables.execute(
                "INSERT INTO restore (id, backup_id, status, requested_by) VALUES ($1, 'b', 'partial', 'a')",
                restore_id,
            )
        for canvas_id, (revision, outcomes, _) in LEFT_CANVASES.items():
            await tables.execute(
                "INSERT INTO canvas (id, name, created_by, revision, deleted_at, restored_by)"
                " VALUES ($1, 'n', 'a', $2, now(), 'r1')",
                canvas_id,
                revision,
            )
            await tables.executemany(
                "INSERT INTO restored_canvas VALUES ($1, $2, $3)",
                [(restore_id, canvas_id, outcome) for restore_id, outcome in outcomes],
            )
        await tables.execute(migration.sql)
        found = await tables.fetch("SELECT id FROM canvas WHERE deleted_at = hidden_at")
    expected = {canvas_id for canvas_id, (*_, unfinished) in LEFT_CANVASES.items() if unfinished}
    assert {row["id"] for row in found} == expected


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("committed", [True, False])
async def test_canvas_that_a_restore_left_unfinished_is_restored_by_the_next_one(
    vault: Vault,
    tables: Tables,
    deleted: bool,
    committed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failed commit, a canvas is not on the list of deleted canvases, and in no backup.

    The next restore creates the canvas with the content of its own backup, also when the failed commit has taken place,
    and when the canvas is deleted in the backup. Proves R-BACKUP-7.
    """
    canvas_id = await vault.draw("a")
    wanted = await vault.state(canvas_id)
    first = await vault.back_up(canvas_id=canvas_id)
    if deleted:
        await vault.client.delete(canvas_id)
        first = await vault.back_up(canvas_id=canvas_id)
        request = CanvasRequest(canvas_id=canvas_id)
        await vault.client.bus.ask(RESTORE_CANVAS, request, caller=vault.client.me)
    await vault.draw("b", canvas_id=canvas_id)
    second = await vault.back_up(canvas_id=canvas_id)
    await lose(tables, canvas_id)
    append = Journal.append

    async def fail_once(journal: Journal, entries: list[Entry]) -> list[Committed]:
        monkeypatch.setattr(Journal, "append", append)
        if committed:
            await append(journal, entries)
        raise Unavailable("the commit may have failed")

    monkeypatch.setattr(Journal, "append", fail_once)
    failed = await vault.restore(second.id)
    assert (failed.status, await vault.outcomes(failed.id)) == ("partial", {canvas_id: "failed"})
    assert (await vault.client.page(deleted=True)).items == []
    request = CanvasRequest(canvas_id=canvas_id)
    with pytest.raises(NotFound):
        await vault.client.bus.ask(RESTORE_CANVAS, request, caller=vault.client.me)
    assert (await vault.back_up(owner_id=vault.client.me.user_id)).canvases == 0
    with pytest.raises(NotFound):
        await vault.back_up(canvas_id=canvas_id)
    repeated = await vault.restore(first.id)
    assert (repeated.status, await vault.outcomes(repeated.id)) == (
        "complete",
        {canvas_id: "created"},
    )
    if deleted:
        listed = await vault.client.page(deleted=True)
        assert [each.id for each in listed.items] == [canvas_id]
        await vault.client.bus.ask(RESTORE_CANVAS, request, caller=vault.client.me)
    assert await vault.state(canvas_id) == wanted
    assert (await vault.client.get(canvas_id)).revision == 1


@pytest.mark.usefixtures("stand_ins")
async def test_canvas_of_a_running_restore_is_not_removed(
    vault: Vault, own_database: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a restore creates a canvas, neither an admin nor a retention of 0 days removes the canvas.

    After the restore has failed, the retention removes the canvas. Proves R-LIFE-11 and R-BACKUP-7.
    """
    first, second = sorted([await vault.draw("a"), await vault.draw("a")])
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await lose(tables, first, second)
    fill = BackupRestorer._fill
    steps: list[PurgeStep] = []
    refused: list[str] = []
    async with postgres.connect(
        own_database, schema="state", package="svgx_state", pool_size=2
    ) as pool:
        remover = Purge(pool, retention_days=0)

        async def remove_due() -> None:
            while (step := await remover.step()) is not None:
                steps.append(step)

        async def fill_late(
            restorer: BackupRestorer, task: Task, record: postgres.Row, canvas: StoredCanvas
        ) -> None:
            await remove_due()
            try:
                request = CanvasRequest(canvas_id=canvas.facts.id)
                await vault.client.bus.ask(PURGE_CANVAS, request, caller=ADMIN)
            except Conflict as error:
                refused.append(error.detail)
            if canvas.facts.id == second:
                raise Unavailable("the commit may have failed")
            await fill(restorer, task, record, canvas)

        await remove_due()  # the canvases that other tests have deleted
        steps.clear()
        monkeypatch.setattr(BackupRestorer, "_fill", fill_late)
        restore = await vault.restore(backup.id)
        assert await vault.outcomes(restore.id) == {first: "created", second: "failed"}
        assert set(elements((await vault.client.load(first)).updates)) == {"a"}
        assert steps == []
        assert len(refused) == 2
        assert all("a restore of a backup is creating the canvas" in detail for detail in refused)
        await remove_due()
        assert [step.canvas_id for step in steps] == [second]
        assert await tables.fetchval("SELECT count(*) FROM canvas WHERE id = $1", second) == 0


async def test_canvas_that_was_removed_during_its_restore_is_listed_as_failed(
    vault: Vault, tables: Tables, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is `failed` for a new canvas without a row, and for a deleted one of which the removal has begun.

    Proves R-BACKUP-7.
    """
    gone, deleted, whole = [await vault.draw("a") for _ in range(3)]
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await lose(tables, gone)
    await vault.client.delete(deleted)
    await vault.client.delete(whole)
    fill, edit = BackupRestorer._fill, BackupRestorer._edit

    async def fill_and_lose(
        restorer: BackupRestorer, task: Task, record: postgres.Row, canvas: StoredCanvas
    ) -> None:
        await fill(restorer, task, record, canvas)
        await lose(tables, canvas.facts.id)

    async def edit_late(
        restorer: BackupRestorer,
        task: Task,
        record: postgres.Row,
        canvas: StoredCanvas,
    ) -> tuple[RestoreOutcome, str | None]:
        if canvas.facts.id == deleted:
            await tables.execute("UPDATE canvas SET purge_began_at = now() WHERE id = $1", deleted)
        return await edit(restorer, task, record, canvas)

    monkeypatch.setattr(BackupRestorer, "_fill", fill_and_lose)
    monkeypatch.setattr(BackupRestorer, "_edit", edit_late)
    restore = await vault.restore(backup.id)
    assert (restore.status, restore.failed) == ("partial", 2)
    assert await vault.outcomes(restore.id) == {
        gone: "failed",
        deleted: "failed",
        whole: "undeleted",
    }


async def test_deletion_that_is_interrupted_leaves_no_manifest(
    backing: DevStack, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new database does not adopt a backup of which the deletion has deleted some objects. Proves R-BACKUP-4."""
    kept, backup = [await vault.back_up(canvas_id=await vault.draw("a")) for _ in range(2)]
    count = len(vault.objects(backup.id))
    interrupted = asyncio.Event()
    delete = Target.delete

    async def delete_one(target: Target, names: Sequence[str]) -> None:
        await delete(target, sorted(names)[:1])
        if len(names) > 1:
            interrupted.set()
            raise TargetFailed("the target refuses the request")

    monkeypatch.setattr(Target, "delete", delete_one)
    await vault.delete(backup.id)
    async with asyncio.timeout(20):
        await interrupted.wait()
    names = [path.name for path in vault.objects(backup.id)]
    assert MANIFEST_NAME not in names
    assert 0 < len(names) < count
    archive = Archive(Target.open(f"file://{vault.folder}"), Seal(read_key(KEY)))
    async with (
        database(backing) as url,
        postgres.connect(url, schema="state", package="svgx_state", pool_size=2) as empty,
    ):
        await Adoption(empty, archive).adopt_all()
        known = await empty.rows("known_backups", [kept.id, backup.id])
        assert [row["id"] for row in known] == [kept.id]
