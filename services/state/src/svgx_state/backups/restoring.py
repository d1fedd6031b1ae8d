"""The restore of a backup: verify the backup, add its accounts, and restore its canvases one by one."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from svgx_canvas import SvgRefused
from svgx_common.contract.collab import REPLACE_CONTENT, ReplaceContentRequest
from svgx_common.contract.errors import (
    DeadlineExceeded,
    Overloaded,
    SvgxError,
    TooManyRequests,
    Unavailable,
)
from svgx_common.contract.operation import Empty
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED, Entry
from svgx_common.contract.storage.backups import RefusedAccount, RestoreOutcome
from svgx_common.contract.storage.events import (
    CanvasCreated,
    CanvasDeleted,
    CanvasRenamed,
    CanvasRestored,
    EventData,
    MemberChanged,
    RestoreCompleted,
)
from svgx_common.events.outbox import emit
from svgx_common.messaging.bus import Bus, BusUnreachable
from svgx_common.postgres import Database, Row, Session
from svgx_state.backups import metrics
from svgx_state.backups.accounts import StoredAccounts
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.chain import Chain, StoredCanvas
from svgx_state.backups.format.records import CanvasFacts
from svgx_state.backups.tasks import Task, Tasks
from svgx_state.backups.verification import BackupChecker
from svgx_state.journal import Journal
from svgx_workers.errors import WorkerError, WorkerUnavailable
from svgx_workers.pool import Workers

log = structlog.get_logger(__name__)

EDIT_ATTEMPTS = 5
"""Largest number of attempts to replace the content of a canvas. Attempts fail while collab is down or overloaded."""

EDIT_PAUSE_SECONDS = 2.0
"""Seconds between two attempts."""

MAX_REFUSED_NAMED = 20
"""Largest number of refused accounts that the record of a restore names."""

_REMOVED = "the canvas is being removed for good; repeat the restore later"

_USERS_PREFIX = "users:"
_CANVASES_PREFIX = "canvases:"
"""The prefixes of a restore's position (see `Task.position`). The id of the last finished account or canvas follows."""


class BackupRestorer:
    """The restorer of backups."""

    def __init__(
        self,
        database: Database,
        *,
        bus: Bus,
        tasks: Tasks,
        archive: Archive,
        accounts: StoredAccounts,
        journal: Journal,
        workers: Workers,
    ) -> None:
        self._database = database
        self._bus = bus
        self._tasks = tasks
        self._archive = archive
        self._accounts = accounts
        self._journal = journal
        self._workers = workers
        self._checker = BackupChecker(workers)

    async def restore(self, task: Task) -> None:
        """Restore the backup of a task, or the rest of it.

        Raises `BackupRefused` or `BackupDamaged` before the first change. If the backup was damaged after its
        verification, the error may come later. Also raises `TargetFailed`, and `Unavailable` or `DeadlineExceeded`
        while the database or another service does not answer.
        """
        record = await self._database.row("restore_record", task.subject_id)
        assert record is not None
        started = time.monotonic()
        only: str | None = record["canvas_id"]
        chain = await Chain.open(self._archive, record["backup_id"])
        if not record["verified"]:
            checked = await self._checker.check(chain, only=only)
            async with self._tasks.transaction(task) as session:
                await session.run("note_verified", task.subject_id, checked.canvases)
        position = task.position
        refused = RefusedAccounts.of(record)
        if only is None and not position.startswith(_CANVASES_PREFIX):
            await self._restore_users(task, chain, position.removeprefix(_USERS_PREFIX), refused)
        await self._restore_canvases(task, record, chain, only)
        async with self._tasks.last_transaction(task) as session:
            finished = await session.row("finish_restore", task.subject_id, None, refused.text())
            assert finished is not None
            completed = RestoreCompleted(
                backup_id=record["backup_id"],
                status=finished["status"],
                canvases=finished["canvases"],
            )
            await emit(session, completed, actor=record["requested_by"])
        metrics.RESTORES.labels(finished["status"]).inc()
        metrics.RESTORE_SECONDS.observe(time.monotonic() - started)
        log.info("restored", restore_id=task.subject_id, outcome=finished["status"])

    async def _restore_users(
        self, task: Task, chain: Chain, after: str, refused: "RefusedAccounts"
    ) -> None:
        """Add the missing accounts with ids after `after`. The record names the accounts that could not be added."""
        async for accounts in chain.accounts():
            if accounts[-1].id <= after:
                continue
            result = await self._accounts.add(accounts)
            refused.add(result.refused)
            async with self._tasks.transaction(
                task, f"{_USERS_PREFIX}{accounts[-1].id}"
            ) as session:
                await session.run(
                    "note_restored_users",
                    task.subject_id,
                    result.added,
                    result.kept,
                    len(result.refused),
                    refused.names,
                )

    async def _restore_canvases(
        self, task: Task, record: Row, chain: Chain, only: str | None
    ) -> None:
        after = (
            task.position.removeprefix(_CANVASES_PREFIX)
            if task.position.startswith(_CANVASES_PREFIX)
            else ""
        )
        async for canvas in chain.canvases(after=after, only=only):
            outcome, detail = await self._restore_or_fail(task, record, canvas)
            async with self._tasks.transaction(
                task, f"{_CANVASES_PREFIX}{canvas.facts.id}"
            ) as session:
                if outcome is RestoreOutcome.CREATED and not await _reveal(
                    session, task, record, canvas.facts
                ):
                    outcome, detail = RestoreOutcome.FAILED, _REMOVED
                await session.run(
                    "note_restored_canvas", task.subject_id, canvas.facts.id, outcome.value, detail
                )
                failed = int(outcome is RestoreOutcome.FAILED)
                await session.run("add_restored_canvas", task.subject_id, failed)

    async def _restore_or_fail(
        self, task: Task, record: Row, canvas: StoredCanvas
    ) -> tuple[RestoreOutcome, str | None]:
        """Restore one canvas. Return the outcome, and a detail for admins or None.

        Raises `Unavailable` or `DeadlineExceeded` only while NATS or the database does not answer or no worker can be
        started, and `TaskLost` when another replica has the task. Other errors of a service or a worker fail only this
        canvas.
        """
        try:
            return await self._restore_canvas(task, record, canvas)
        except BusUnreachable:
            raise
        except (Unavailable, DeadlineExceeded) as error:
            if await self._database_answers():
                return RestoreOutcome.FAILED, error.detail
            raise
        except SvgxError as error:
            return RestoreOutcome.FAILED, error.detail
        except WorkerUnavailable:
            raise Unavailable("no worker process can be started; try again") from None
        except (SvgRefused, WorkerError) as error:
            log.warning("could not restore a canvas", canvas_id=canvas.facts.id, error=str(error))
            return RestoreOutcome.FAILED, "reading the content takes too much time or memory"

    async def _restore_canvas(
        self, task: Task, record: Row, canvas: StoredCanvas
    ) -> tuple[RestoreOutcome, str | None]:
        facts = canvas.facts
        async with self._tasks.transaction(task) as session:
            await session.run("discard_unfinished_canvas", facts.id, task.subject_id)
            created = await session.row(
                "create_hidden_canvas",
                facts.id,
                facts.name,
                facts.created_by,
                facts.created_at,
                task.subject_id,
            )
            if created is not None:
                await session.run("add_restored_members", facts.id, _members(facts.members))
        row = await self._database.row("canvas_to_restore", facts.id)
        if row is None or row["purging"]:
            return RestoreOutcome.FAILED, _REMOVED
        if row["restored_by"] == task.subject_id:
            await self._fill(task, record, canvas)
            return RestoreOutcome.CREATED, None
        if facts.deleted_at is not None:
            deleted = row["deleted_at"] is not None
            return (RestoreOutcome.UNCHANGED if deleted else RestoreOutcome.SKIPPED), None
        return await self._edit(task, record, canvas)

    async def _edit(
        self, task: Task, record: Row, canvas: StoredCanvas
    ) -> tuple[RestoreOutcome, str | None]:
        """Give an existing canvas the name and the content of the backup, and undo its deletion."""
        facts = canvas.facts
        async with self._tasks.transaction(task) as session:
            changed = await session.row("undelete_canvas", facts.id, facts.name)
            undeleted = changed is not None and changed["undeleted"]
            if undeleted:
                restored = CanvasRestored(canvas_id=facts.id)
                await emit(session, restored, actor=record["requested_by"])
            if changed is not None and changed["renamed"]:
                renamed = CanvasRenamed(canvas_id=facts.id, name=facts.name)
                await emit(session, renamed, actor=record["requested_by"])
        if undeleted:
            await self._bus.broadcast(CANVAS_ACCESS_CHANGED, Empty(), canvas_id=facts.id)
        edited, detail = await self._replace(record, canvas)
        if undeleted:
            return RestoreOutcome.UNDELETED, detail
        if edited or changed is not None:
            return RestoreOutcome.REPLACED, detail
        return RestoreOutcome.UNCHANGED, detail

    async def _fill(self, task: Task, record: Row, canvas: StoredCanvas) -> None:
        """Append the content of a canvas that this restore has created. A repeated call changes nothing.

        The content is one entry. When a worker cannot merge the updates, each update becomes an entry.
        """
        if not canvas.updates:
            return
        updates = canvas.updates
        try:
            compacted = await self._workers.compact(None, canvas.updates, outlined=False)
            updates = [compacted.update]
        except WorkerUnavailable:
            raise
        except (SvgRefused, WorkerError):
            log.warning("restoring a canvas without merging its updates", canvas_id=canvas.facts.id)
        await self._journal.append(
            [
                Entry(canvas.facts.id, task.subject_id, number, (record["requested_by"],), update)
                for number, update in enumerate(updates, 1)
            ]
        )

    async def _replace(self, record: Row, canvas: StoredCanvas) -> tuple[bool, str | None]:
        """Replace the content of an existing canvas by an edit. Return whether the content differed, and a detail."""
        canvas_id = canvas.facts.id
        wanted = await self._workers.state(canvas.updates)
        stored = await self._journal.load(canvas_id)
        current = await self._workers.state(stored.updates, stored.outline)
        left_out = sum(item.count for item in wanted.left_out)
        detail = None
        if left_out:
            detail = f"{left_out} updates are left out, because they cannot be read or need missing updates"
        if wanted.content == current.content:
            return False, detail
        request = ReplaceContentRequest(
            canvas_id=canvas_id, author=record["requested_by"], content=wanted.content
        )
        await self._request_edit(request)
        return True, detail

    async def _request_edit(self, request: ReplaceContentRequest) -> None:
        """Ask collab for the edit, and repeat the request while collab does not answer or is overloaded.

        A repeated edit changes nothing. Raises `BusUnreachable` at once: after an outage of NATS, the task begins the
        canvas again with all attempts, because collab may be connected later than this replica.
        """
        for attempt in range(1, EDIT_ATTEMPTS + 1):
            try:
                await self._bus.ask(REPLACE_CONTENT, request)
            except BusUnreachable:
                raise
            except (Unavailable, DeadlineExceeded, Overloaded, TooManyRequests):
                if attempt == EDIT_ATTEMPTS:
                    raise
                await asyncio.sleep(EDIT_PAUSE_SECONDS)
            else:
                return

    async def _database_answers(self) -> bool:
        try:
            await self._database.row("backup_figures")
        except Unavailable:
            return False
        return True


@dataclass(slots=True)
class RefusedAccounts:
    """The accounts that could not be added. The restore's record stores them, so that a continued restore keeps them.

    `count` is their number. `names` is a text with the first `MAX_REFUSED_NAMED` of these accounts. For each account,
    the text names the field with a value that another account already has. `names` is None while no account was
    refused.
    """

    count: int
    names: str | None

    @classmethod
    def of(cls, record: Row) -> "RefusedAccounts":
        """Return the accounts that the record of an unfinished restore has."""
        return cls(record["users_refused"], record["error"])

    def add(self, refused: Sequence[RefusedAccount]) -> None:
        """Count refused accounts, and add the first `MAX_REFUSED_NAMED` of all to `names`."""
        for each in refused:
            if self.count < MAX_REFUSED_NAMED:
                beginning = f"{self.names}, " if self.names else "accounts that were not added: "
                self.names = f"{beginning}{each.id} ({each.field})"
            self.count += 1

    def text(self) -> str | None:
        """Return the text for the record of the ended restore, or None if no account was refused."""
        more = self.count - MAX_REFUSED_NAMED
        return f"{self.names}, and {more} more" if more > 0 else self.names

    def text_after(self, reason: str) -> str:
        """Return the text for the record of a restore that failed for this reason."""
        names = self.text()
        return reason if names is None else f"{reason}; {names}"


async def _reveal(session: Session, task: Task, record: Row, facts: CanvasFacts) -> bool:
    """Complete a canvas that this restore has created, and write its events.

    Return False if the canvas was removed meanwhile.

    The canvas exists for other programs only from now on, so its creation, its members and its deletion have their
    events now. Each member has an event, because the actor of a restore need not be a member.
    """
    row = await session.row(
        "reveal_canvas", facts.id, facts.deleted_at is not None, task.subject_id
    )
    if row is None:
        return False
    events: list[EventData] = [CanvasCreated(canvas_id=facts.id, name=facts.name)]
    events += [
        MemberChanged(canvas_id=facts.id, user_id=user_id, role=role)
        for user_id, role in json.loads(row["members"]).items()
    ]
    if facts.deleted_at is not None:
        events.append(CanvasDeleted(canvas_id=facts.id))
    for event in events:
        await emit(session, event, actor=record["requested_by"])
    return True


def _members(members: Mapping[str, str]) -> str:
    return json.dumps(dict(members))
