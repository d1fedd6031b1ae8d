"""Backups of canvases and users, and their restores, through the service and with a folder as the target."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import CapturingLogger

from svgx_common.contract.errors import Conflict, Invalid, NotFound, SvgxError
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.storage import backups as contract
from svgx_common.contract.storage.backups import StoredAccount
from svgx_common.postgres import Row, Session
from svgx_devstack import DevStack
from svgx_state.backups import accounts, creation, runner
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.tasks import Task
from tests.blocked import until_blocked
from tests.integration.state.drawing import elements
from tests.integration.state.history_steps import find_moment
from tests.integration.state.service import Client, Tables, replica, user
from tests.integration.state.vault import (
    ADMIN,
    StandIns,
    Vault,
    lose,
    run_stand_ins,
    tables_of,
)
from tests.integration.state.webhook_client import rename
from tests.polling import pause


@pytest.fixture(scope="module")
async def running(backing: DevStack, own_database: str, folder: Path) -> AsyncIterator[None]:
    """A replica with a target."""
    async with replica(backing, postgres_url=own_database, backup_url=f"file://{folder}"):
        yield


@pytest.fixture
async def vault(client: Client, running: None, folder: Path) -> Vault:
    """A client of the operations on backups."""
    return Vault(client, folder)


@pytest.fixture
async def tables(own_database: str, running: None) -> AsyncIterator[Tables]:
    """A connection to the service's tables."""
    async with tables_of(own_database) as connection:
        yield connection


@pytest.fixture
async def stand_ins(backing: DevStack, vault: Vault) -> AsyncIterator[StandIns]:
    """Stand-ins for auth and collab."""
    async with run_stand_ins(backing, vault.client) as answering:
        yield answering


def _account(user_id: str) -> StoredAccount:
    return StoredAccount.model_validate(
        {
            "id": user_id,
            "username": user_id,
            "email": f"{user_id}@example.org",
            "password_hash": "$argon2id$secret",
            "role": "editor",
            "created_at": "2026-01-01T00:00:00Z",
            "disabled_at": None,
            "deleted_at": None,
            "token_version": 3,
            "identities": [],
            "api_keys": [],
        }
    )


async def test_progress_of_a_first_attempt_grows_with_the_stored_canvases(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The progress in the record is 1 only when all canvases are stored. Proves R-OBS-2."""
    shown: list[float] = []
    note = BackupWriter._note

    async def note_and_show(writer: BackupWriter, task: Task, *written: Any) -> None:
        await note(writer, task, *written)
        shown.append((await vault.get(task.subject_id)).progress)

    monkeypatch.setattr(creation, "OBJECT_BYTES", 1)
    monkeypatch.setattr(BackupWriter, "_note", note_and_show)
    for _ in range(4):
        await vault.draw("a")
    await vault.back_up(owner_id=vault.client.me.user_id)
    assert shown == [0.25, 0.5, 0.75, 1.0]


async def test_lost_canvases_are_restored_with_equal_content_and_members(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """A restore creates lost canvases with their ids, names, members and Yjs state. Proves R-BACKUP-1."""
    drawn = await vault.draw("a", "b", "c")
    empty = await vault.client.create("Empty")
    friend = user()
    await vault.client.set_member(drawn, friend.user_id, CanvasRole.VIEWER)
    before = await vault.state(drawn)
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    assert (backup.status, backup.canvases, backup.changed) == ("complete", 2, 2)
    assert (backup.progress, backup.parent_id) == (1.0, None)
    await lose(tables, drawn, empty)
    restore = await vault.restore(backup.id)
    assert (restore.status, restore.canvases, restore.error) == ("complete", 2, None)
    assert await vault.outcomes(restore.id) == {drawn: "created", empty: "created"}
    assert await vault.state(drawn) == before
    assert (await vault.client.get(drawn)).revision == 1
    assert (await vault.client.get(empty)).name == "Empty"
    assert await vault.client.member(drawn, friend.user_id) is CanvasRole.VIEWER
    assert stand_ins.replaced == []


async def test_past_of_a_restored_canvas_begins_with_the_restore(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """A canvas that a restore created anew shows no empty drawing for the time before. Proves R-HIST-8, R-HIST-9."""
    drawn, empty = await vault.draw("a"), await vault.client.create()
    before = datetime.now(UTC)
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await lose(tables, drawn, empty)
    begun = datetime.now(UTC)
    await vault.restore(backup.id)
    restored = datetime.now(UTC)
    await vault.draw("b", canvas_id=drawn)
    for canvas_id, revision in ((drawn, 1), (empty, 0)):
        assert begun < (await find_moment(vault.client, canvas_id)).earliest < restored
        for at in (before, begun):
            with pytest.raises(Invalid, match="before the known past"):
                await find_moment(vault.client, canvas_id, at.isoformat())
        assert (
            await find_moment(vault.client, canvas_id, restored.isoformat())
        ).revision == revision


async def test_restore_into_existing_canvases_edits_only_those_that_differ(
    vault: Vault, stand_ins: StandIns
) -> None:
    """A changed canvas is edited, a deleted one is undeleted, an equal one stays as it is. Proves R-BACKUP-7."""
    changed, deleted, equal = [await vault.draw("a") for _ in range(3)]
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await vault.draw("b", canvas_id=changed)
    await vault.client.delete(deleted)
    restore = await vault.restore(backup.id)
    assert await vault.outcomes(restore.id) == {
        changed: "replaced",
        deleted: "undeleted",
        equal: "unchanged",
    }
    assert stand_ins.replaced == [changed]
    assert set(elements((await vault.client.load(deleted)).updates)) == {"a"}


async def test_canvas_that_is_deleted_in_the_backup_stays_when_it_exists(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """A restore deletes no existing canvas.

    A lost canvas that was deleted in the backup is restored as deleted. Its retention begins anew, so it can be
    undeleted for another `DELETED_RETENTION_DAYS`. Proves R-BACKUP-7.
    """
    deleted = await vault.draw("a")
    await vault.client.delete(deleted)
    await tables.execute(
        "UPDATE canvas SET deleted_at = now() - interval '1 year' WHERE id = $1", deleted
    )
    backup = await vault.back_up(canvas_id=deleted)
    await tables.execute("UPDATE canvas SET deleted_at = NULL WHERE id = $1", deleted)
    restore = await vault.restore(backup.id)
    assert await vault.outcomes(restore.id) == {deleted: "skipped"}
    assert (await vault.client.get(deleted)).id == deleted
    await lose(tables, deleted)
    restore = await vault.restore(backup.id)
    assert await vault.outcomes(restore.id) == {deleted: "created"}
    with pytest.raises(NotFound):
        await vault.client.get(deleted)
    assert await tables.fetchval(
        "SELECT deleted_at > now() - interval '1 hour' FROM canvas WHERE id = $1", deleted
    )


async def test_restored_canvases_have_the_events_of_their_changes(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """Proves R-EVENT-1 and R-BACKUP-7: a canvas has an event for each change, and an edited canvas has none.

    The actor is the admin that requested the restore.
    """
    deleted, renamed, both, edited, lost, lost_deleted = [
        await vault.draw("a", canvas_id=await vault.client.create("Old")) for _ in range(6)
    ]
    me, friend = vault.client.me.user_id, user().user_id
    await vault.client.set_member(lost, friend, CanvasRole.VIEWER)
    await vault.client.delete(lost_deleted)
    backup = await vault.back_up(owner_id=me)
    for canvas_id in (renamed, both):
        await rename(vault.client, canvas_id, "New")
    for canvas_id in (deleted, both):
        await vault.client.delete(canvas_id)
    await vault.draw("b", canvas_id=edited)
    await lose(tables, lost, lost_deleted)
    before = await tables.fetchval("SELECT max(number) FROM event")
    restore = await vault.restore(backup.id)
    assert restore.status == "complete"
    expected: dict[str, list[tuple[str, dict[str, str]]]] = {
        deleted: [("canvas.restored", {})],
        renamed: [("canvas.renamed", {"name": "Old"})],
        both: [("canvas.restored", {}), ("canvas.renamed", {"name": "Old"})],
        edited: [],
        lost: [
            ("canvas.created", {"name": "Old"}),
            *(
                ("member.changed", {"user_id": user_id, "role": role})
                for user_id, role in sorted([(me, "owner"), (friend, "viewer")])
            ),
        ],
        lost_deleted: [
            ("canvas.created", {"name": "Old"}),
            ("member.changed", {"user_id": me, "role": "owner"}),
            ("canvas.deleted", {}),
        ],
    }
    for canvas_id, events in expected.items():
        rows = await tables.fetch(
            "SELECT type, actor, data::text AS data FROM event"
            " WHERE number > $1 AND entity_id = $2 ORDER BY number",
            before,
            canvas_id,
        )
        assert [(row["type"], json.loads(row["data"])) for row in rows] == [
            (name, {"canvas_id": canvas_id, **data}) for name, data in events
        ]
        assert {row["actor"] for row in rows} <= {ADMIN.user_id}


async def test_canvas_with_a_removal_in_progress_is_not_restored(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """A restore does not change a canvas after its removal has begun, and lists it as failed. Proves R-BACKUP-7."""
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(canvas_id=canvas_id)
    await tables.execute(
        "UPDATE canvas SET deleted_at = now(), purge_began_at = now() WHERE id = $1", canvas_id
    )
    restore = await vault.restore(backup.id)
    assert restore.status == "partial"
    assert await vault.outcomes(restore.id) == {canvas_id: "failed"}
    with pytest.raises(NotFound):
        await vault.client.get(canvas_id)


async def test_one_canvas_of_a_backup_is_restored_alone(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """A restore with a canvas id touches no other canvas. Proves R-BACKUP-7."""
    first, second = await vault.draw("a"), await vault.draw("b")
    backup = await vault.back_up(owner_id=vault.client.me.user_id)
    await lose(tables, first, second)
    restore = await vault.restore(backup.id, first)
    assert restore.status == "complete"
    assert await vault.outcomes(restore.id) == {first: "created"}
    with pytest.raises(NotFound):
        await vault.client.get(second)


async def test_record_of_a_restore_that_ended_long_ago_is_deleted(
    vault: Vault, tables: Tables, stand_ins: StandIns, backing: DevStack, own_database: str
) -> None:
    """The record of a restore is deleted, with its canvases, 90 days after the end. Proves R-BACKUP-7."""
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(canvas_id=canvas_id)
    old, recent = [(await vault.restore(backup.id)).id for _ in range(2)]
    for restore_id, days in ((old, 90), (recent, 89)):
        await tables.execute(
            "UPDATE restore SET finished_at = now() - make_interval(days => $2) WHERE id = $1",
            restore_id,
            days,
        )
    async with replica(backing, postgres_url=own_database, backup_url=f"file://{vault.folder}"):
        while await tables.fetchval("SELECT true FROM restore WHERE id = $1", old):
            await pause()
    assert await vault.outcomes(recent) == {canvas_id: "unchanged"}
    with pytest.raises(NotFound, match="no restore with this id"):
        await vault.outcomes(old)


async def test_incremental_backup_has_only_changes_and_restores_all(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """A chain of backups restores every canvas as it was at the time of the last backup. Proves R-BACKUP-2."""
    owner = vault.client.me.user_id
    edited, renamed, same, lost, shared = [await vault.draw("a") for _ in range(5)]
    full = await vault.back_up(owner_id=owner)
    await vault.draw("b", canvas_id=edited)
    await tables.execute("UPDATE canvas SET name = 'New' WHERE id = $1", renamed)
    await vault.client.set_member(shared, user().user_id, CanvasRole.EDITOR)
    added = await vault.draw("c")
    first = await vault.back_up(owner_id=owner, backup_type="incremental")
    assert (first.parent_id, first.canvases, first.changed) == (full.id, 6, 4)
    await vault.draw("d", canvas_id=edited)
    await vault.client.delete(lost)
    second = await vault.back_up(owner_id=owner, backup_type="incremental")
    assert (second.parent_id, second.canvases, second.changed) == (first.id, 6, 2)
    everything = [edited, renamed, same, lost, shared, added]
    before = [await vault.state(each) for each in everything if each != lost]
    await lose(tables, *everything)
    assert (await vault.verify(second.id)).canvases == 6
    restore = await vault.restore(second.id)
    assert restore.status == "complete"
    assert [await vault.state(each) for each in everything if each != lost] == before
    assert (await vault.client.get(renamed)).name == "New"
    assert set(elements((await vault.client.load(edited)).updates)) == {"a", "b", "d"}
    with pytest.raises(NotFound):
        await vault.client.get(lost)


async def test_canvas_that_a_restore_created_anew_is_in_the_next_incremental_backup(
    vault: Vault, tables: Tables, stand_ins: StandIns
) -> None:
    """After the restore, revisions are counted from 1 again, so they are not compared with those in the parent backup.

    Proves R-BACKUP-2.
    """
    canvas_id = await vault.draw("a", "b")
    full = await vault.back_up(canvas_id=canvas_id)
    await lose(tables, canvas_id)
    await vault.restore(full.id)
    await vault.draw("other", canvas_id=canvas_id)
    assert (await vault.client.get(canvas_id)).revision == 2  # as in the backup
    increment = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
    assert (increment.parent_id, increment.changed) == (full.id, 1)
    await lose(tables, canvas_id)
    await vault.restore(increment.id)
    assert set(elements((await vault.client.load(canvas_id)).updates)) == {"a", "b", "other"}


async def test_incremental_backup_without_a_base_becomes_a_full_one(vault: Vault) -> None:
    """Without a base, the backup is a full one, and its record has this type. Proves R-BACKUP-2."""
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
    assert (backup.backup_type, backup.parent_id, backup.status) == ("full", None, "complete")


async def test_users_are_restored_and_existing_ones_stay_as_they_are(
    vault: Vault, stand_ins: StandIns
) -> None:
    """Missing accounts are added, existing ones are kept, and refused ones are named. Proves R-BACKUP-6."""
    stored = stand_ins.accounts.stored
    stored |= {name: _account(name) for name in ("gone", "changed", "clash")}
    backup = await vault.back_up(state_type="users")
    assert (backup.users, backup.canvases) == (3, 0)
    assert b"argon2id" not in b"".join(path.read_bytes() for path in vault.objects(backup.id))
    del stored["gone"], stored["clash"]
    stored["changed"] = stored["changed"].model_copy(update={"role": "viewer"})
    stand_ins.accounts.refused["clash"] = "username"
    restore = await vault.restore(backup.id)
    assert (restore.users_added, restore.users_kept, restore.users_refused) == (1, 1, 1)
    assert restore.status == "partial"
    assert restore.error == "accounts that were not added: clash (username)"
    assert stored["gone"] == _account("gone")
    assert stored["changed"].role == "viewer"


async def test_continued_restore_names_refused_accounts_of_all_attempts(
    vault: Vault, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names the accounts that were refused before an outage of auth, and those after the outage.

    Proves R-BACKUP-6. Proves R-OBS-16: work that waits for auth soon after the start logs no warning.
    """
    logger = CapturingLogger()
    monkeypatch.setattr(runner, "log", logger)
    monkeypatch.setattr(runner, "STARTUP_SECONDS", 3600.0)
    monkeypatch.setattr(accounts, "PAGE_SIZE", 1)
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.0)
    stand_ins.accounts.stored |= {name: _account(name) for name in ("first", "second")}
    backup = await vault.back_up(state_type="users")
    stand_ins.accounts.refused |= {"first": "username", "second": "email"}
    stand_ins.accounts.unavailable_once.add("second")
    restore = await vault.restore(backup.id)
    assert not stand_ins.accounts.unavailable_once
    assert restore.users_refused == 2
    assert restore.error == "accounts that were not added: first (username), second (email)"
    waiting = [call for call in logger.calls if call.args == ("work on a backup waits",)]
    assert [call.method_name for call in waiting] == ["info"]


async def test_failed_restore_names_the_accounts_that_were_refused_before(
    vault: Vault, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BACKUP-6: the record has the reason of the failure, and the refused accounts."""
    monkeypatch.setattr(accounts, "PAGE_SIZE", 1)
    monkeypatch.setattr(runner, "LONGEST_OUTAGE_SECONDS", -1.0)  # the first outage ends the restore
    stand_ins.accounts.stored |= {name: _account(name) for name in ("first", "second")}
    backup = await vault.back_up(state_type="users")
    stand_ins.accounts.refused["first"] = "username"
    stand_ins.accounts.unavailable_once.add("second")
    restore = await vault.restore(backup.id)
    assert (restore.status, restore.users_refused) == ("failed", 1)
    assert restore.error == "auth restarts; accounts that were not added: first (username)"


async def test_backup_of_all_has_canvases_and_users(vault: Vault, stand_ins: StandIns) -> None:
    """A backup of the state type `all` has every canvas and every account. Proves R-BACKUP-1."""
    stand_ins.accounts.stored["u1"] = _account("u1")
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(state_type="all")
    assert backup.users == 1
    assert backup.canvases >= 1
    verification = await vault.verify(backup.id)
    assert (verification.status, verification.users) == ("passed", 1)
    assert verification.canvases == backup.canvases
    assert canvas_id in await vault.outcomes((await vault.restore(backup.id)).id)


async def test_backups_are_listed_newest_first_in_pages(vault: Vault) -> None:
    """The list has cursor pages. `latest` is the newest complete backup of all canvases. Proves R-BACKUP-3."""
    canvas_id = await vault.draw("a")
    made = [(await vault.back_up()).id for _ in range(2)]
    made.append((await vault.back_up(canvas_id=canvas_id)).id)
    first = await vault.page(limit=2)
    assert [each.id for each in first.items] == made[:0:-1]
    second = await vault.page(limit=2, cursor=first.next)
    assert second.items[0].id == made[0]
    assert (await vault.get("latest")).id == made[1]


REFUSED_REQUESTS = [
    ({"state_type": "users", "canvas_id": "c"}, Invalid, "canvas_id"),
    ({"state_type": "all", "owner_id": "u"}, Invalid, "owner_id"),
    ({"canvas_id": "c", "owner_id": "u"}, Invalid, "owner_id"),
    ({"base": "b"}, Invalid, "base"),
    ({"canvas_id": "unknown"}, NotFound, "canvas_id"),
    ({"backup_type": "incremental", "base": "unknown"}, NotFound, "base"),
]


@pytest.mark.parametrize(("request_", "error", "field"), REFUSED_REQUESTS)
async def test_unsuitable_request_is_refused_with_the_field(
    vault: Vault, request_: dict[str, str], error: type[SvgxError], field: str
) -> None:
    """The error of a request for a backup that cannot be made names the unsuitable field. Proves R-BACKUP-3."""
    with pytest.raises(error) as refused:
        await vault.begin(**request_)
    assert refused.value.field == field


async def test_base_of_other_canvases_is_refused(vault: Vault) -> None:
    """An incremental backup builds on a backup of the same canvases only. Proves R-BACKUP-2."""
    base = await vault.back_up(canvas_id=await vault.draw("a"))
    other = await vault.draw("b")
    with pytest.raises(Conflict) as refused:
        await vault.begin(canvas_id=other, backup_type="incremental", base=base.id)
    assert refused.value.field == "base"


async def test_backup_with_a_child_is_not_deleted(vault: Vault) -> None:
    """A backup can be deleted only after all backups that build on it. Proves R-BACKUP-5."""
    canvas_id = await vault.draw("a")
    parent = await vault.back_up(canvas_id=canvas_id)
    await vault.draw("b", canvas_id=canvas_id)
    child = await vault.back_up(canvas_id=canvas_id, backup_type="incremental")
    with pytest.raises(Conflict, match=child.id):
        await vault.delete(parent.id)
    for backup_id in (child.id, parent.id):
        await vault.delete(backup_id)
        await vault.wait_gone(backup_id)
        assert not (vault.folder / backup_id).exists()


@pytest.mark.parametrize("kind", ["backup", "restore"])
async def test_request_while_another_task_ends_succeeds(
    vault: Vault,
    tables: Tables,
    stand_ins: StandIns,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """If the task that blocks a request ends before its id is read, the request adds its task. Proves R-BACKUP-5."""
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(canvas_id=canvas_id)
    await tables.execute(
        "INSERT INTO backup_task (kind, subject_id, runner, heartbeat_at)"
        " VALUES ($1, 'other', 'other', clock_timestamp() + interval '10 s')",
        kind,
    )
    row = Session.row

    async def end_first(session: Session, name: str, *values: Any, **options: Any) -> Row | None:
        if name == "task_of_kind":
            await tables.execute("DELETE FROM backup_task WHERE subject_id = 'other'")
        return await row(session, name, *values, **options)

    monkeypatch.setattr(Session, "row", end_first)
    if kind == "backup":
        assert (await vault.back_up(canvas_id=canvas_id)).status == "complete"
    else:
        assert (await vault.restore(backup.id)).status == "complete"


@pytest.mark.parametrize(
    ("kind", "moment"),
    [("verify", "lock_task"), ("verify", "lock_backup"), ("delete", "lock_task")],
)
async def test_request_while_the_same_task_ends_leaves_no_record_without_a_task(
    vault: Vault, tables: Tables, monkeypatch: pytest.MonkeyPatch, kind: str, moment: str
) -> None:
    """When a replica ends the task during a request for it, the request adds the task anew, or the end waits.

    Proves R-BACKUP-11.
    """
    backup = await vault.back_up(canvas_id=await vault.draw("a"))
    await tables.execute(
        "INSERT INTO backup_task (kind, subject_id, runner, heartbeat_at)"
        " VALUES ($1, $2, 'other', clock_timestamp() + interval '10 s')",
        kind,
        backup.id,
    )
    ended = False

    async def end_task() -> None:
        nonlocal ended
        with suppress(asyncpg.LockNotAvailableError):
            async with tables.transaction():
                await tables.execute("SET LOCAL lock_timeout = '1s'")
                await tables.execute("DELETE FROM backup_task WHERE runner = 'other'")
                if kind == "verify":
                    await tables.execute(
                        'UPDATE backup SET verification = \'{"status": "passed"}\' WHERE id = $1',
                        backup.id,
                    )
            ended = True

    row = Session.row

    async def end_first(session: Session, name: str, *values: Any, **options: Any) -> Row | None:
        if name == moment and not ended:
            await end_task()
        return await row(session, name, *values, **options)

    monkeypatch.setattr(Session, "row", end_first)
    request = contract.BackupRequest(backup_id=backup.id)
    operation = contract.VERIFY_BACKUP if kind == "verify" else contract.DELETE_BACKUP
    await vault.client.bus.ask(operation, request, caller=ADMIN)
    monkeypatch.setattr(Session, "row", row)
    if not ended:
        await end_task()
    assert ended
    async with asyncio.timeout(20):
        if kind == "delete":
            await vault.wait_gone(backup.id)
        else:
            while _verification_runs(await vault.get(backup.id)):
                await pause()


def _verification_runs(backup: contract.Backup) -> bool:
    return backup.verification is not None and backup.verification.status == "running"


@pytest.mark.parametrize("kind", ["delete", "verify", "backup", "restore"])
async def test_request_locks_the_task_before_the_backup(
    vault: Vault, tables: Tables, stand_ins: StandIns, kind: str
) -> None:
    """A request locks the task first and then the backup, because a replica that ends the task locks in this order.

    So the replica and the request do not deadlock.

    Proves R-BACKUP-11.
    """
    canvas_id = await vault.draw("a")
    backup = await vault.back_up(canvas_id=canvas_id)
    subject = backup.id if kind in ("delete", "verify") else "another"
    # A task of another replica, which is about to end this task.
    await tables.execute(
        "INSERT INTO backup_task (kind, subject_id, runner, heartbeat_at)"
        " VALUES ($1, $2, 'other', clock_timestamp() + interval '10 s')",
        kind,
        subject,
    )
    requests: dict[str, Callable[[], Awaitable[object]]] = {
        "delete": lambda: vault.delete(backup.id),
        "verify": lambda: vault.verify(backup.id),
        "backup": lambda: vault.back_up(
            canvas_id=canvas_id, backup_type="incremental", base=backup.id
        ),
        "restore": lambda: vault.restore(backup.id),
    }
    async with tables.transaction():
        await tables.execute(
            "DELETE FROM backup_task WHERE kind = $1 AND subject_id = $2", kind, subject
        )
        request = asyncio.ensure_future(requests[kind]())
        async with asyncio.timeout(20):
            await until_blocked(tables)
        # If the request locked the backup first, it would hold this lock now.
        await tables.execute("SELECT FROM backup WHERE id = $1 FOR UPDATE NOWAIT", backup.id)
    await request
    assert stand_ins.replaced == []
