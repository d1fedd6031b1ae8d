"""Damaged, foreign and interrupted backups, full disks and missing targets. The backups are encrypted."""

import base64
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from svgx_common.contract.errors import Conflict, NotFound
from svgx_common.contract.storage.backups import BackupStatus
from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from svgx_state.backups import creation, tasks
from svgx_state.backups.format.manifest import NAME
from tests.integration.state.drawing import Pen
from tests.integration.state.service import Client, Tables, replica
from tests.integration.state.vault import (
    Neighbours,
    Vault,
    database,
    full_disk,
    lose,
    neighbours,
    tables_of,
)
from tests.polling import pause

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture(scope="module")
async def own_database(backing: DevStack) -> AsyncIterator[str]:
    """A database without the canvases of other tests."""
    async with database(backing) as url:
        yield url


@pytest.fixture
async def others(backing: DevStack, client: Client) -> AsyncIterator[Neighbours]:
    """Auth and collab."""
    async with neighbours(backing, client) as found:
        yield found


@pytest.fixture
async def tables(own_database: str) -> AsyncIterator[Tables]:
    """A connection to the service's tables. They exist once a replica has started."""
    async with tables_of(own_database) as connection:
        yield connection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target of the module's backups."""
    return tmp_path_factory.mktemp("backups")


@pytest.fixture
async def running(backing: DevStack, own_database: str, folder: Path) -> AsyncIterator[None]:
    """A replica with a target and a key."""
    url = f"file://{folder}"
    async with replica(
        backing, postgres_url=own_database, backup_url=url, backup_key=KEY, worker_count=1
    ):
        yield


@pytest.fixture
async def vault(client: Client, folder: Path) -> Vault:
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
        path = vault.folder / backup_id / NAME
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    return edit


def _swap_objects(vault: Vault, backup_id: str) -> None:
    first, second = vault.objects(backup_id, "canvas")[0], vault.objects(backup_id, "index")[0]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def _cut_body(vault: Vault, backup_id: str) -> None:
    path = vault.folder / backup_id / NAME
    envelope = json.loads(path.read_bytes())
    path.write_text(json.dumps({**envelope, "body": envelope["body"][:-8]}))


DAMAGED_OBJECTS = {
    "a truncated object": (_damage_object(_truncate), "bytes instead of"),
    "a flipped byte": (_damage_object(_flip), "does not have its checksum"),
    "a missing object": (_damage_object(Path.unlink), "is missing"),
    "an empty object": (_damage_object(lambda path: path.write_bytes(b"")), "0 bytes instead of"),
    "swapped objects": (_swap_objects, "instead of"),
}

UNUSABLE_MANIFESTS = {
    "a manifest that is no JSON": (lambda v, b: (v.folder / b / NAME).write_text("x"), "damaged"),
    "a missing manifest": (lambda v, b: (v.folder / b / NAME).unlink(), "no complete backup"),
    "a manifest of another product": (_edit_envelope(product="other"), "none of this product"),
    "a manifest of another backup": (_edit_envelope(backup_id="other"), "of another backup"),
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
    vault: Vault, running: None, others: Neighbours, damage: str
) -> None:
    """A damaged backup is named by its verification, and a restore of it changes nothing. Proves R-BACKUP-4."""
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
    assert others.replaced == []


@pytest.mark.parametrize("damage", UNUSABLE_MANIFESTS)
async def test_backup_with_an_unusable_manifest_is_refused_at_once(
    vault: Vault, running: None, damage: str
) -> None:
    """A foreign or incomplete backup is refused with the reason, before a restore begins. Proves R-BACKUP-4."""
    inflict, reason = UNUSABLE_MANIFESTS[damage]
    backup = await vault.back_up(canvas_id=await vault.draw("a"))
    inflict(vault, backup.id)
    with pytest.raises(Conflict, match=reason):
        await vault.begin_restore(backup.id)
    assert (await vault.verify(backup.id)).status == "failed"


async def test_chain_without_its_first_backup_is_refused(vault: Vault, running: None) -> None:
    """An incremental backup whose parent was removed by hand is refused. Proves R-BACKUP-4."""
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


async def test_backup_is_unreadable_with_another_key_and_without_one(
    backing: DevStack, vault: Vault, own_database: str, others: Neighbours
) -> None:
    """An encrypted backup needs its key, and shows no content without it. Proves R-BACKUP-4."""
    target: dict[str, float | str] = {
        "postgres_url": own_database,
        "backup_url": f"file://{vault.folder}",
        "worker_count": 1,
    }
    async with replica(backing, **target, backup_key=KEY):
        canvas_id = await vault.draw("element-in-clear-text")
        backup = await vault.back_up(canvas_id=canvas_id)
    stored = b"".join(path.read_bytes() for path in vault.objects(backup.id))
    assert b"element-in-clear-text" not in stored
    assert canvas_id.encode() not in stored
    for key in ("", OTHER_KEY):
        async with replica(backing, **target, backup_key=key):
            with pytest.raises(Conflict, match="encrypted with the key"):
                await vault.begin_restore(backup.id)
    async with replica(backing, **target, backup_key=KEY):
        assert (await vault.restore(backup.id)).status == "complete"


async def test_backups_of_a_lost_database_are_found_at_the_target(
    backing: DevStack, vault: Vault, others: Neighbours
) -> None:
    """A new database lists the backups of the target and restores them, as after a disaster. Proves R-BACKUP-8."""
    target: dict[str, float | str] = {
        "backup_url": f"file://{vault.folder / 'disaster'}",
        "worker_count": 1,
    }
    async with database(backing) as first, replica(backing, postgres_url=first, **target):
        canvas_id = await vault.draw("a")
        before = await vault.state(canvas_id)
        full = await vault.back_up()
        await vault.draw("b", canvas_id=canvas_id)
        after = await vault.state(canvas_id)
        increment = await vault.back_up(backup_type="incremental")
    async with database(backing) as second, replica(backing, postgres_url=second, **target):
        while len((await vault.page()).items) < 2:
            await pause()
        assert [each.id for each in (await vault.page()).items] == [increment.id, full.id]
        restore = await vault.restore("latest")
        assert (restore.backup_id, restore.status) == (increment.id, "complete")
        assert await vault.state(canvas_id) == after != before
        # Revisions are counted anew, so no incremental backup builds on those of the lost database.
        fresh = await vault.back_up(backup_type="incremental")
        assert fresh.backup_type == "full"
        with pytest.raises(Conflict, match="before this database"):
            await vault.begin(backup_type="incremental", base=increment.id)


async def test_restore_of_an_unknown_backup_is_not_found(vault: Vault, running: None) -> None:
    """A backup that neither the database nor the target has is not found. Proves R-BACKUP-3."""
    for request in (vault.begin_restore, vault.get, vault.delete, vault.verify):
        with pytest.raises(NotFound):
            await request("unknown")


async def test_full_disk_fails_the_backup_with_the_reason(
    backing: DevStack, client: Client, own_database: str, tmp_path: Path
) -> None:
    """A backup that does not fit on the disk fails with the reason, and has no manifest. Proves R-BACKUP-4."""
    with full_disk(tmp_path / "disk") as disk:
        vault = Vault(client, disk)
        async with replica(
            backing, postgres_url=own_database, backup_url=f"file://{disk}", worker_count=1
        ):
            canvas_id = await vault.draw("a")
            noise = secrets.token_hex(200 * 1024)
            await client.append(Pen(canvas_id, "noise").draw("noise", noise))
            backup = await vault.back_up(canvas_id=canvas_id)
        assert backup.status == "failed"
        assert backup.error is not None
        assert "No space left on device" in backup.error
        assert not (disk / backup.id / NAME).exists()


async def test_unreachable_object_storage_fails_the_backup_with_the_reason(
    backing: DevStack, client: Client, own_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that does not answer is named by the backup's record, without a secret. Proves R-BACKUP-4."""
    monkeypatch.setattr("svgx_state.backups.format.target.RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{choose()}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
    vault = Vault(client, Path())
    async with replica(
        backing, postgres_url=own_database, backup_url="s3://bucket/backups", worker_count=1
    ):
        backup = await vault.back_up(canvas_id=await vault.draw("a"))
    assert backup.status == "failed"
    assert backup.error is not None
    assert "the target does not answer" in backup.error
    assert "hidden-value" not in backup.error


@pytest.fixture
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each canvas an object of its own."""
    monkeypatch.setattr(creation, "OBJECT_BYTES", 1)


async def _stop_within(vault: Vault, tables: Tables, backup_id: str, objects: int) -> None:
    """Wait until a backup has stored some objects, and stop it within the next read of a canvas."""
    while (await vault.get(backup_id)).objects < objects:
        await pause()
    await tables.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
    assert (await vault.get(backup_id)).status == "running"


@pytest.mark.parametrize("damaged", [False, True])
async def test_interrupted_backup_is_continued_by_another_replica(
    backing: DevStack,
    vault: Vault,
    own_database: str,
    tables: Tables,
    others: Neighbours,
    small_objects: None,
    damaged: bool,
) -> None:
    """Another replica reuses the stored objects whose checksums are right, and writes the rest. Proves R-BACKUP-5."""
    target: dict[str, float | str] = {
        "postgres_url": own_database,
        "backup_url": f"file://{vault.folder}",
        "backup_key": KEY,
        "worker_count": 1,
    }
    async with replica(backing, **target):
        drawn = [await vault.draw("a") for _ in range(60)]
        states = {each: await vault.state(each) for each in drawn}
        transaction = tables.transaction()
        backup = await vault.begin(owner_id=vault.client.me.user_id)
        await transaction.start()
        await _stop_within(vault, tables, backup.id, 10)
        with pytest.raises(Conflict, match=backup.id):
            await vault.begin()
    first = [path for path in vault.objects(backup.id) if path.name.endswith("-1")]
    assert len(first) >= 10
    if damaged:
        _flip(vault.objects(backup.id, "canvas-000004")[0])
    await transaction.rollback()
    async with replica(backing, **target):
        ended = await vault.ended(backup.id)
        assert (ended.status, ended.canvases) == ("complete", 60)
        reused = [path for path in vault.objects(backup.id) if path.name.endswith("-1")]
        assert len(reused) == (6 if damaged else len(first))
        assert (await vault.verify(backup.id)).canvases == 60
        await lose(tables, *drawn)
        assert (await vault.restore(backup.id)).status == "complete"
        assert {each: await vault.state(each) for each in drawn} == states


async def test_replica_that_lost_its_backup_writes_no_more(
    vault: Vault,
    running: None,
    own_database: str,
    tables: Tables,
    small_objects: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica that was thought dead notices that another one has its work, and ends nothing. Proves R-BACKUP-5."""
    monkeypatch.setattr(tasks, "RENEW_SECONDS", 0.01)
    for _ in range(40):
        await vault.draw("a")
    transaction = tables.transaction()
    backup = await vault.begin(owner_id=vault.client.me.user_id)
    await transaction.start()
    await _stop_within(vault, tables, backup.id, 6)
    async with tables_of(own_database) as other:
        await other.execute("UPDATE backup_task SET runner = 'another', heartbeat_at = now()")
        await transaction.rollback()
        while await other.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'svgx-state' AND state <> 'idle'"
        ):
            await pause()
        assert not (vault.folder / backup.id / NAME).exists()
        assert (await vault.get(backup.id)).status is BackupStatus.RUNNING
        await other.execute("UPDATE backup_task SET heartbeat_at = NULL")
    ended = await vault.ended(backup.id)
    assert (ended.status, ended.canvases) == ("complete", 40)


async def test_restore_that_failed_half_way_says_which_canvases_are_restored(
    backing: DevStack, client: Client, vault: Vault, running: None, tables: Tables
) -> None:
    """The outcomes name each canvas, and a repeated restore completes the rest. Proves R-BACKUP-7."""
    lost, changed = await vault.draw("a"), await vault.draw("a")
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await lose(tables, lost)
    await vault.draw("b", canvas_id=changed)
    # Collab does not run, so that the canvas that exists cannot be edited.
    restore = await vault.restore(backup.id)
    assert (restore.status, restore.canvases, restore.failed) == ("partial", 2, 1)
    assert await vault.outcomes(restore.id) == {lost: "created", changed: "failed"}
    async with neighbours(backing, client):
        restore = await vault.restore(backup.id)
    assert restore.status == "complete"
    assert await vault.outcomes(restore.id) == {lost: "unchanged", changed: "replaced"}


async def test_retention_deletes_old_backups_with_their_objects(
    backing: DevStack, client: Client, own_database: str, tmp_path: Path
) -> None:
    """After each backup, those beyond BACKUP_KEEP are deleted, but no parent of a kept one. Proves R-BACKUP-5."""
    vault = Vault(client, tmp_path)
    async with (
        database(backing) as url,
        replica(
            backing,
            postgres_url=url,
            backup_url=f"file://{tmp_path}",
            backup_keep=2,
            worker_count=1,
        ),
    ):
        canvas_id = await vault.draw("a")
        old = await vault.back_up(canvas_id=canvas_id)
        parent = await vault.back_up(canvas_id=canvas_id)
        first = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        await vault.gone(old.id)
        second = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
        assert [each.id for each in (await vault.page()).items] == [second.id, first.id, parent.id]
        assert not (tmp_path / old.id).exists()


async def test_without_a_target_the_setting_is_named(backing: DevStack, client: Client) -> None:
    """Without BACKUP_URL, the operations say so. Proves R-BACKUP-3."""
    async with replica(backing):
        with pytest.raises(Conflict, match="BACKUP_URL"):
            await Vault(client, Path()).begin()
