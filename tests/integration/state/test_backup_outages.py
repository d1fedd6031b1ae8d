"""Backups and restores while the target or auth does not answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import obstore
import pytest
from obstore.exceptions import GenericError
from obstore.store import ObjectStore

from svgx_common.contract.errors import Unavailable
from svgx_common.contract.storage.backups import CreateBackupRequest, StateType, StoredAccount
from svgx_state.backups import catalogue, runner
from svgx_state.backups.accounts import StoredAccounts
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.format.manifest import MANIFEST_NAME
from svgx_state.backups.format.target import Target, TargetFailed, TargetUnavailable
from svgx_state.backups.tasks import Task, Tasks
from svgx_state.commands import backups as commands
from svgx_state.settings import StateSettings
from tests.integration.state.backup_site import Site, adopt_nothing
from tests.integration.state.vault import lose, tables_of

_FAILURES = 3
"""Number of requests in a row that fail in an outage."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all objects that are read from the target. Between two attempts at a task is no pause."""
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.0)
    names: list[str] = []
    get = Target.get

    async def note_and_get(self: Target, name: str) -> bytes:
        names.append(name)
        return await get(self, name)

    monkeypatch.setattr(Target, "get", note_and_get)
    return names


def _interrupt_target(monkeypatch: pytest.MonkeyPatch, request: str, part: str) -> list[str]:
    """Let the target fail `_FAILURES` times at a request for an object with this part in its name.

    Return a list to which the names of the failed requests are added.
    """
    failed: list[str] = []
    carry_out = getattr(Target, request)

    async def fail_or_carry_out(self: Target, name: str, *content: bytes) -> object:
        if part in name and len(failed) < _FAILURES:
            failed.append(name)
            raise TargetUnavailable(f"cannot reach {name}", "the target answers 503")
        return await carry_out(self, name, *content)

    monkeypatch.setattr(Target, request, fail_or_carry_out)
    return failed


def _interrupt_auth(monkeypatch: pytest.MonkeyPatch, failures: float) -> list[str]:
    """Let auth fail at requests for pages of accounts. Return a list to which each failed request is added."""
    failed: list[str] = []
    pages = StoredAccounts.pages

    async def fail_or_read(self: StoredAccounts, after: str) -> AsyncIterator[list[StoredAccount]]:
        if len(failed) < failures:
            failed.append(after)
            raise Unavailable("auth does not answer")
        async for page in pages(self, after):
            yield page

    monkeypatch.setattr(StoredAccounts, "pages", fail_or_read)
    return failed


@pytest.mark.parametrize("server", ["target", "auth"])
async def test_backup_continues_after_an_outage_without_reading_its_objects_again(
    site: Site, small_objects: None, reads: list[str], monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Each attempt of a replica looks for the manifest, and keeps the objects of earlier attempts.

    Proves R-BACKUP-12.
    """
    async with site.replica():
        for _ in range(6):
            await site.vault.draw("a")
        if server == "target":
            failed = _interrupt_target(monkeypatch, "put", "index-000004")
        else:
            failed = _interrupt_auth(monkeypatch, _FAILURES)
        backup = await site.vault.back_up(state_type="all")
        assert (backup.status, len(failed)) == ("complete", _FAILURES)
        assert reads == [f"{backup.id}/{MANIFEST_NAME}"] * (_FAILURES + 1)
        assert (await site.vault.verify(backup.id)).status == "passed"


@pytest.mark.parametrize("carried_out", ["at once", "after the manifest"])
async def test_write_that_is_carried_out_although_it_failed_damages_no_backup(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch, carried_out: str
) -> None:
    """A repeated write has another name. An object that is stored before the manifest is deleted. Proves R-BACKUP-4."""
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.0)
    late: list[tuple[str, bytes]] = []
    put = Target.put

    async def fail_or_put(self: Target, name: str, content: bytes) -> None:
        if "/canvas-000002" in name and not late:
            late.append((name, content))
            if carried_out == "at once":
                await put(self, name, content)
            raise TargetUnavailable(f"cannot write {name}", "the target does not answer")
        await put(self, name, content)
        if name.endswith(MANIFEST_NAME) and carried_out == "after the manifest":
            await put(self, *late[0])

    monkeypatch.setattr(Target, "put", fail_or_put)
    async with site.replica():
        for _ in range(3):
            await site.vault.draw("a")
        backup = await site.vault.back_up(owner_id=site.vault.client.me.user_id)
        assert (backup.status, len(late)) == ("complete", 1)
        assert (await site.vault.verify(backup.id)).status == "passed"
        unlisted = len(site.vault.objects(backup.id)) - backup.objects - 1
        assert unlisted == (0 if carried_out == "at once" else 1)


async def test_backup_of_which_only_the_answer_for_the_manifest_was_lost_counts_as_own(
    site: Site, small_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup fails, and a verification completes its record. The completion has an event. Proves R-BACKUP-15."""
    vault = site.vault
    put = Target.put

    async def put_and_fail(self: Target, name: str, content: bytes) -> None:
        await put(self, name, content)
        if name.endswith(MANIFEST_NAME):
            raise TargetFailed(f"cannot write {name}: the answer was lost")

    async with site.replica(), tables_of(site.url) as tables:
        await vault.draw("a")
        owner_id = vault.client.me.user_id
        with monkeypatch.context() as patch:
            patch.setattr(Adoption, "adopt_all", adopt_nothing)
            patch.setattr(Target, "put", put_and_fail)
            backup = await vault.back_up(owner_id=owner_id)
            assert backup.status == "failed"
            assert (await vault.verify(backup.id)).status == "passed"
        completed = await vault.get(backup.id)
        assert (completed.status, completed.adopted, completed.error) == ("complete", False, None)
        events = await tables.fetch("SELECT type FROM event WHERE entity_id = $1", backup.id)
        assert sorted(row["type"] for row in events) == ["backup.completed", "backup.failed"]
        assert await tables.fetch("SELECT FROM backup_object") == []
        later = await vault.back_up(owner_id=owner_id, backup_type="incremental")
        assert later.parent_id == backup.id


async def test_replica_reads_no_object_of_a_backup_while_auth_does_not_answer(
    site: Site, small_objects: None, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that continues a backup with accounts asks auth first. Proves R-BACKUP-12."""
    stopped = asyncio.Event()

    async def count(_: StoredAccounts) -> int:
        raise Unavailable("auth does not answer")

    async def pages(_: StoredAccounts, after: str) -> AsyncIterator[list[StoredAccount]]:
        stopped.set()
        await asyncio.Event().wait()
        yield []

    async with site.replica():
        await site.vault.draw("a")
        monkeypatch.setattr(StoredAccounts, "pages", pages)
        backup = await site.vault.begin(state_type="all")
        async with asyncio.timeout(20):
            await stopped.wait()
    reads.clear()
    monkeypatch.setattr(StoredAccounts, "count", count)
    monkeypatch.setattr(runner, "LONGEST_OUTAGE_SECONDS", 0.0)
    async with site.replica():
        ended = await site.vault.wait_ended(backup.id)
        assert (ended.status, ended.error) == ("failed", "auth does not answer")
        assert {name for name in reads if name.startswith(backup.id)} == {
            f"{backup.id}/{MANIFEST_NAME}"
        }


async def test_outage_of_auth_ends_a_backup_that_has_many_objects(
    site: Site, small_objects: None, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage that lasts longer than the limit fails the backup with the reason. Proves R-BACKUP-12."""
    monkeypatch.setattr(runner, "LONGEST_OUTAGE_SECONDS", 0.2)
    async with site.replica():
        for _ in range(6):
            await site.vault.draw("a")
        failed = _interrupt_auth(monkeypatch, float("inf"))
        backup = await site.vault.back_up(state_type="all")
        assert (backup.status, backup.error) == ("failed", "auth does not answer")
        assert reads == [f"{backup.id}/{MANIFEST_NAME}"] * len(failed)


@pytest.mark.parametrize("survives", [True, False])
async def test_command_that_waits_for_a_backup_survives_a_short_outage_of_postgresql(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, survives: bool
) -> None:
    """After a longer outage, the command ends with the error. Proves R-BACKUP-12."""
    monkeypatch.setattr(commands, "POLL_SECONDS", 0.0)
    if not survives:
        monkeypatch.setattr(commands, "LONGEST_OUTAGE_SECONDS", 0.0)
    failed: list[str | None] = []
    claim = Tasks.claim

    async def fail_or_claim(self: Tasks, subject_id: str | None = None) -> Task | None:
        if len(failed) < _FAILURES:
            failed.append(subject_id)
            raise Unavailable("the database does not answer")
        return await claim(self, subject_id)

    async with site.replica():
        canvas_id = await site.vault.draw("a")
    settings = StateSettings.model_validate(
        {
            "nats_url": site.backing.nats_url("state"),
            "postgres_url": site.url,
            "redis_url": site.backing.redis_url,
            "backup_url": f"file://{site.vault.folder}",
        }
    )
    async with commands._open(settings) as backups:
        request = CreateBackupRequest(state_type=StateType.CANVAS, canvas_id=canvas_id)
        backup_id = (await backups.catalogue.request_backup(request, "ann")).id
        ended = commands._backup_once_ended(backups, backup_id)
        monkeypatch.setattr(Tasks, "claim", fail_or_claim)
        with contextlib.nullcontext() if survives else pytest.raises(Unavailable):
            assert (await commands._finish(backups, backup_id, ended)).status == "complete"
        assert failed == [backup_id] * (_FAILURES if survives else 2)
        failed += [None] * _FAILURES
        await commands._finish(backups, backup_id, ended)


async def test_verification_and_restore_continue_after_an_outage_of_the_target(
    site: Site, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that does not answer for a moment fails neither of them. Proves R-BACKUP-12."""
    vault = site.vault
    async with site.replica(), tables_of(site.url) as tables:
        canvas_id = await vault.draw("a")
        backup = await vault.back_up(canvas_id=canvas_id)
        failed = _interrupt_target(monkeypatch, "get", "/canvas-")
        assert (await vault.verify(backup.id)).status == "passed"
        assert len(failed) == _FAILURES
        await lose(tables, canvas_id)
        failed.clear()
        assert (await vault.restore(backup.id)).status == "complete"
        assert len(failed) == _FAILURES


async def test_requests_name_a_target_that_is_silent_for_longer_than_the_limit(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to verify or restore gets its answer before the caller gives up. Proves R-BACKUP-3."""
    vault = site.vault
    async with site.replica():
        backup = await vault.back_up(canvas_id=await vault.draw("a"))

        async def wait_forever(_: Target, name: str) -> bytes:
            await asyncio.Event().wait()
            return name.encode()

        monkeypatch.setattr(catalogue, "TARGET_SECONDS", 0.1)
        monkeypatch.setattr(Target, "get", wait_forever)
        with pytest.raises(Unavailable, match="the target of the backups does not answer"):
            await vault.begin_restore(backup.id)
        with pytest.raises(Unavailable, match="the target of the backups does not answer"):
            await vault.verify("unknown")


async def test_verification_ends_when_one_object_cannot_be_read_for_varying_reasons(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long attempts that fail at the same object are one outage. Proves R-BACKUP-12."""
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "RECOVERY_SECONDS", 0.0)
    monkeypatch.setattr(runner, "LONGEST_OUTAGE_SECONDS", 0.0)
    reasons = ["status code: 503", "status code: 500", "HttpError { kind: Timeout }"]
    get = obstore.get_async

    async def fail_or_get(store: ObjectStore, name: str) -> object:
        if "/canvas-" in name and reasons:
            raise GenericError(reasons.pop())
        return await get(store, name)

    async with site.replica():
        backup = await site.vault.back_up(canvas_id=await site.vault.draw("a"))
        monkeypatch.setattr(obstore, "get_async", fail_or_get)
        verification = await site.vault.verify(backup.id)
        assert (verification.status, len(reasons)) == ("failed", 1)
