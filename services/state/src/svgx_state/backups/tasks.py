"""The tasks of backups and restores, and the leases of the tasks.

A task is a row that exists from the request until the work has ended. A replica has the lease of a task as long as the
replica renews the row. After a replica was killed, another replica takes the task up when the lease has ended.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from svgx_common.contract.errors import Unavailable
from svgx_common.postgres import Database, Session

LEASE_SECONDS = 15.0
"""Seconds from the last renewal to the end of the lease. Another replica then takes the task up."""

RENEW_SECONDS = 3.0
"""Seconds between two renewals."""

Kind = Literal["backup", "verify", "delete", "restore"]


class TaskLost(Exception):
    """Another replica has taken the task up. This replica must not change anything from now on."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task that this process carries out.

    `runner` is a random name for the lease. A task gets a new `runner` each time that it is taken up.
    """

    id: int
    kind: Kind
    subject_id: str
    runner: str
    attempts: int
    position: str
    """The progress of a restore: `users:` or `canvases:` with the last finished id. Empty for other tasks."""
    checksums: dict[str, str] = field(default_factory=dict, compare=False)
    """The checksums of the objects of a backup that this process has stored or read back, by name.

    A further attempt of this process does not read these objects again.
    """


class Tasks:
    """The table `backup_task`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, subject_id: str | None = None) -> Task | None:
        """Take up a task that no replica has, and return the task. Return None if there is no such task.

        With `subject_id`, take up only a task of this backup or restore.
        """
        runner = secrets.token_hex(8)
        row = await self._database.row("claim_task", runner, LEASE_SECONDS, subject_id)
        return None if row is None else Task(**dict(row))

    async def reread(self, task: Task) -> Task:
        """Return the task with its stored position. Raise `TaskLost` when another replica has the task.

        While the database is not reachable, return the task unchanged, because no other replica can take the task up.
        """
        try:
            row = await self._database.row("task_position", task.id, task.runner)
        except Unavailable:
            return task
        if row is None:
            raise TaskLost
        return replace(task, position=row["position"])

    async def release(self, task: Task) -> None:
        """End the lease, so that another replica can take the task up without delay."""
        await self._database.run("release_task", task.id, task.runner)

    @asynccontextmanager
    async def lease_renewal(self, task: Task) -> AsyncIterator[None]:
        """Renew the lease until the block ends. When the lease is lost, cancel the block and raise `TaskLost`."""
        owner = asyncio.current_task()
        assert owner is not None
        lost = False

        async def renew() -> None:
            nonlocal lost
            while True:
                await asyncio.sleep(RENEW_SECONDS)
                try:
                    row = await self._database.row("renew_task", task.id, task.runner)
                except Unavailable:
                    continue  # no other replica can take the task up meanwhile
                if row is None:
                    lost = True
                    owner.cancel()
                    return

        renewing = asyncio.create_task(renew())
        try:
            yield
        except asyncio.CancelledError:
            if lost:
                owner.uncancel()
                raise TaskLost from None
            raise
        finally:
            renewing.cancel()

    @asynccontextmanager
    async def transaction(self, task: Task, position: str | None = None) -> AsyncIterator[Session]:
        """Open a transaction that is a part of the task. Raise `TaskLost` when another replica has the task.

        With `position`, store this position of the task in the transaction.
        """
        async with self._database.transaction() as session:
            if position is None:
                row = await session.row("renew_task", task.id, task.runner)
            else:
                row = await session.row("set_task_position", task.id, task.runner, position)
            if row is None:
                raise TaskLost
            yield session

    @asynccontextmanager
    async def last_transaction(self, task: Task) -> AsyncIterator[Session]:
        """Open the task's last transaction, which also removes the task. Raise `TaskLost` as `transaction` does."""
        async with self._database.transaction() as session:
            if await session.row("end_task", task.id, task.runner) is None:
                raise TaskLost
            yield session
