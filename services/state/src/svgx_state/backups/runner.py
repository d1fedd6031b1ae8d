"""The runner of backup tasks in the background. A replica takes up only tasks that no other replica has."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from svgx_common.background import STARTUP_SECONDS, BackgroundTasks
from svgx_common.contract.errors import TEMPORARY_ERRORS, SvgxError
from svgx_common.contract.storage.backups import Verification, VerificationStatus
from svgx_common.contract.storage.events import BackupFailed, RestoreFailed
from svgx_common.events.outbox import emit
from svgx_common.postgres import Database
from svgx_state.backups import metrics
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.deletion import BackupRemover
from svgx_state.backups.format.archive import Archive
from svgx_state.backups.format.chain import Chain
from svgx_state.backups.format.manifest import BackupRefused
from svgx_state.backups.format.sealing import BackupDamaged
from svgx_state.backups.format.target import TargetFailed, TargetUnavailable
from svgx_state.backups.restoring import BackupRestorer, RefusedAccounts
from svgx_state.backups.tasks import Task, TaskLost, Tasks
from svgx_state.backups.verification import BackupChecker

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0
"""Seconds between two searches for tasks that no replica has."""

RETENTION_SECONDS = 3600.0
"""Seconds between two applications of the retention. The retention is also applied after each backup."""

PAUSE_SECONDS = 2.0
"""Seconds from an attempt that failed because a server was not reachable to the next attempt at the task."""

LONGEST_OUTAGE_SECONDS = 600.0
"""Longest outage of a server or of the target that a task survives, in seconds. Beyond it, the task fails."""

RECOVERY_SECONDS = 120.0
"""Minimum duration of an attempt, in seconds, that shows that the outage before the attempt has ended.

A request to a server that is not reachable fails before this time.
"""

MAX_ATTEMPTS = 50
"""Largest number of times that replicas take up one task.

Beyond this number the task fails, because it probably crashes the replicas.
"""

MAX_RUNNING = 3
"""Largest number of tasks that one replica carries out at a time."""


class Outage:
    """Attempts at one task that fail in a row, because a server is not reachable. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._attempt_began_at = 0.0
        self._failed_request: str | None = None

    def begin_attempt(self, now: float) -> None:
        """Note that an attempt begins."""
        self._attempt_began_at = now

    def fail_attempt(self, failed_at: float, request: str | None = None) -> float:
        """Note that the attempt has failed. Return the seconds since the first failure of the outage.

        The failure of an attempt that lasted for `RECOVERY_SECONDS` begins a new outage. `request` names the failed
        request for an object at the target. If the attempt before failed at the same request, the outage has not ended,
        because a verification reads all objects before this one again.
        """
        is_same = request is not None and request == self._failed_request
        self._failed_request = request
        lasted = failed_at - self._attempt_began_at
        if self._since is None or (lasted >= RECOVERY_SECONDS and not is_same):
            self._since = failed_at
        return failed_at - self._since


class BackupRunner:
    """Carries out tasks in one replica. When the replica ends, another replica takes the tasks up."""

    def __init__(
        self,
        database: Database,
        tasks: Tasks,
        archive: Archive,
        *,
        writer: BackupWriter,
        checker: BackupChecker,
        restorer: BackupRestorer,
        remover: BackupRemover,
        adoption: Adoption,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._archive = archive
        self._checker = checker
        self._remover = remover
        self._adoption = adoption
        self._background = BackgroundTasks()
        self._running_tasks = BackgroundTasks()
        self._wake_requested = asyncio.Event()
        self._next_retention = 0.0
        self._started_at = -math.inf
        self._handlers: dict[str, Callable[[Task], Awaitable[None]]] = {
            "backup": writer.write,
            "verify": self._verify,
            "delete": remover.remove,
            "restore": restorer.restore,
        }

    def start(self) -> None:
        """Begin to look for work."""
        self._started_at = time.monotonic()
        self._background.repeat("look for work on backups", self._take_up_tasks)

    def wake(self) -> None:
        """Look for work now, because a request has added a task or a task has ended."""
        self._wake_requested.set()

    async def close(self) -> None:
        """Stop, and leave the running tasks to other replicas."""
        await self._background.stop()
        await self._running_tasks.stop()

    async def run_one(self, subject_id: str) -> None:
        """Carry out the task of one backup or restore in this call, unless another replica has the task."""
        task = await self._tasks.claim(subject_id)
        if task is not None:
            await self._carry_out(task)

    async def _take_up_tasks(self) -> None:
        """Take up tasks, and wait for `wake` or for `POLL_SECONDS`.

        When the retention is due, first delete old records of restores, adopt the backups that are only at the target,
        and apply the retention.
        """
        self._wake_requested.clear()
        await self.show_figures()
        if time.monotonic() >= self._next_retention:
            self._next_retention = time.monotonic() + RETENTION_SECONDS
            await self._remover.remove_old_restores()
            try:
                await self._adoption.adopt_all()
                await self._remover.apply_retention()
            except TargetFailed as error:
                log.warning("the target of the backups failed", reason=str(error))
        while (
            len(self._running_tasks) < MAX_RUNNING
            and (task := await self._tasks.claim()) is not None
        ):
            self._running_tasks.start(f"{task.kind} {task.subject_id}", self._carry_out(task))
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake_requested.wait()
        except TimeoutError:
            pass

    async def show_figures(self) -> None:
        """Show the last success and the progress in the metrics, also of work in another process.

        The command `svgx-state backup` of a CronJob is such a process.
        """
        row = await self._database.row("backup_figures")
        assert row is not None
        metrics.BACKUP_LAST_SUCCESS.set(row["last_success"])
        metrics.BACKUP_PROGRESS.set(row["backup_progress"])
        metrics.RESTORE_PROGRESS.set(row["restore_progress"])

    async def _carry_out(self, task: Task) -> None:
        """Carry out a task until it ends, is lost, or this replica stops."""
        try:
            async with self._tasks.lease_renewal(task):
                await self._carry_out_with_retries(task)
        except TaskLost:
            log.warning("another replica has taken up this work", subject=task.subject_id)
        except asyncio.CancelledError:
            try:
                async with asyncio.timeout(2):
                    await self._tasks.release(task)
            except (SvgxError, TimeoutError):
                pass  # another replica takes the task up when the lease has expired
            raise
        finally:
            self.wake()

    async def _carry_out_with_retries(self, task: Task) -> None:
        """Carry out a task, and continue the task after a server or the target was not reachable."""
        if task.attempts > MAX_ATTEMPTS:
            await self._fail(task, f"this work was taken up {MAX_ATTEMPTS} times and did not end")
            return
        outage = Outage()
        while True:
            outage.begin_attempt(time.monotonic())
            try:
                await self._handlers[task.kind](task)
            except (*TEMPORARY_ERRORS, TargetUnavailable) as error:
                request = error.problem if isinstance(error, TargetUnavailable) else None
                reason = error.detail if isinstance(error, SvgxError) else str(error)
                if outage.fail_attempt(time.monotonic(), request) > LONGEST_OUTAGE_SECONDS:
                    await self._fail(task, reason)
                    return
                # Shortly after the start of this replica, auth may not answer yet. This needs no warning.
                is_starting = time.monotonic() - self._started_at < STARTUP_SECONDS
                write = log.info if is_starting else log.warning
                write("work on a backup waits", subject=task.subject_id, reason=reason)
                await asyncio.sleep(PAUSE_SECONDS)
                task = await self._tasks.reread(task)
            except (BackupRefused, BackupDamaged) as error:
                await self._fail(task, str(error), refused=True)
                return
            except TargetFailed as error:
                await self._fail(task, str(error))
                return
            except (SvgxError, OSError, ValueError, KeyError, TypeError, AssertionError):
                log.exception("work on a backup failed", subject=task.subject_id)
                await self._fail(task, "internal error; the log of the state service has details")
                return
            else:
                if task.kind == "backup":
                    metrics.BACKUPS.labels("complete").inc()
                    log.info("backup complete", backup_id=task.subject_id)
                    self._next_retention = 0.0
                return

    async def _verify(self, task: Task) -> None:
        chain = await Chain.open(self._archive, task.subject_id)
        checked = await self._checker.check(chain)
        result = Verification(
            status=VerificationStatus.PASSED,
            finished_at=datetime.now(UTC),
            objects=checked.objects,
            bytes=checked.bytes,
            canvases=checked.canvases,
            users=checked.users,
            unreadable=checked.unreadable,
        )
        async with self._tasks.last_transaction(task) as session:
            await session.run("set_verification", task.subject_id, result.model_dump_json())
        metrics.BACKUP_VERIFICATIONS.labels("passed").inc()

    async def _fail(self, task: Task, reason: str, *, refused: bool = False) -> None:
        """End a task without success. Store the reason in the record, except for a deletion."""
        log.error("work on a backup failed", kind=task.kind, subject=task.subject_id, reason=reason)
        async with self._tasks.last_transaction(task) as session:
            match task.kind:
                case "backup":
                    await session.run("fail_backup", task.subject_id, reason)
                    await emit(session, BackupFailed(backup_id=task.subject_id, reason=reason))
                case "verify":
                    result = Verification(
                        status=VerificationStatus.FAILED,
                        finished_at=datetime.now(UTC),
                        detail=reason,
                    )
                    await session.run("set_verification", task.subject_id, result.model_dump_json())
                case "restore":
                    row = await session.row("restore_record", task.subject_id)
                    assert row is not None
                    status = "refused" if refused and not row["verified"] else "failed"
                    text = RefusedAccounts.of(row).text_after(reason)
                    await session.row("finish_restore", task.subject_id, status, text)
                    failed = RestoreFailed(backup_id=row["backup_id"], reason=reason)
                    await emit(session, failed, actor=row["requested_by"])
                    metrics.RESTORES.labels(status).inc()
                case "delete":
                    pass  # the next application of the retention requests the deletion again
        if task.kind == "backup":
            metrics.BACKUPS.labels("failed").inc()
        elif task.kind == "verify":
            metrics.BACKUP_VERIFICATIONS.labels("failed").inc()
