"""Run the functions of `svgx_canvas` in child processes that can be killed.

If a file makes a renderer take gigabytes of memory or hours of time, only the child process is lost. The caller gets an
error for this job, and the other child processes work for other accounts meanwhile.

A turn is the use of one child process for the jobs of one request.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from svgx_workers.child import Child
from svgx_workers.confinement import PARTS
from svgx_workers.errors import WorkerTimeout, WorkerUnavailable
from svgx_workers.frames import Frame
from svgx_workers.jobs import Jobs
from svgx_workers.turns import Turns

MAX_WAITING = 24
"""Maximum number of waiting turns of all accounts. One more raises `WorkersBusy`.

A service handles many more requests at a time, so it can still handle other requests while this number of turns waits.
"""

SLOW_SECONDS = 3.0
"""CPU time of a job, in seconds, after which it runs with lower priority."""

SERVICE_SLOW_SECONDS = 0.25
"""CPU time of one of the service's own jobs, in seconds, after which it runs with lower priority.

The time is shorter than `SLOW_SECONDS`, because no client waits for these jobs. A child with lower priority is replaced
after its job. A new child needs 0.13 s.
"""

RECYCLE_BYTES = 64 * 1024 * 1024
"""Maximum memory of a child after a job, in bytes. A child that holds more is replaced.

An idle child holds 28 MiB. Only jobs that take a second or more leave much more memory in use. Compared with their
time, the 0.13 s for a new child matter little.
"""

MAX_WAITING_PER_ACCOUNT = 8
"""Maximum number of waiting turns of one account. One more raises `AccountBusy`."""


class Workers(Jobs):
    """A pool of `size` child processes. `start` starts them; each runs one job at a time.

    An account may use half of the children at a time, and at least one. A job without a `turn` is a job of the service
    itself.

    memory_bytes: address space of each child, including about 200 MB for the program; 0 sets no limit.
    timeout_seconds: wall-clock limit for all jobs of one turn together, and CPU limit for each job. The time in which
    a turn waits for a child does not count.
    waiting, waiting_each: turns that may wait for a child, of all accounts and of one account.
    recycle_bytes: memory that a child may hold after a job. A child that holds more is killed. The next job of the turn
    starts a new process. Without a next job, the end of the turn starts it.
    """

    def __init__(
        self,
        size: int,
        memory_bytes: int,
        timeout_seconds: float,
        *,
        waiting: int = MAX_WAITING,
        waiting_each: int = MAX_WAITING_PER_ACCOUNT,
        recycle_bytes: int = RECYCLE_BYTES,
    ) -> None:
        self.memory_bytes = memory_bytes
        self.timeout_seconds = timeout_seconds
        self._children = [Child(memory_bytes, timeout_seconds) for _ in range(size)]
        self._idle: list[Child] = []
        self._replacements: set[asyncio.Task[None]] = set()
        share = max(1, size // 2)
        self._turns = Turns(size, share, waiting=waiting, waiting_each=waiting_each)
        self.turns_per_account = share + waiting_each
        """Turns that one account may have, including waiting turns."""
        self._recycle_bytes = recycle_bytes
        self._closed = False

    async def start(self) -> None:
        """Start the children. Raises `WorkerUnavailable` if one of them fails to start."""
        self._idle = list(self._children)
        try:
            await asyncio.gather(*(child.start() for child in self._children))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Kill all children and wait until they have ended. Running and waiting jobs raise `WorkerUnavailable`."""
        self._closed = True
        await asyncio.gather(*(child.close() for child in self._children))
        await asyncio.gather(*self._replacements)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def turn(
        self, account: str | None, *, wait_seconds: float | None = None, deadline: float = math.inf
    ) -> AsyncIterator["Turn"]:
        """Wait for a child, and keep it for the jobs of one request until the block ends.

        account: None stands for the service itself, which may have any number of waiting turns.
        wait_seconds: seconds to wait for the child; None waits without a limit.
        deadline: time on the monotonic clock at which the jobs must have ended, even if `timeout_seconds` is longer.

        Raises `AccountBusy` or `WorkersBusy` if too many turns wait, or if `wait_seconds` have passed. Raises
        `WorkerUnavailable` if the workers are closed.
        """
        self._check_open()
        async with self._turns.take(account, wait_seconds):
            self._check_open()
            child = self._take_child()
            ends_at = min(deadline, time.monotonic() + self.timeout_seconds)
            try:
                yield Turn(child, ends_at, self._recycle_bytes, of_service=account is None)
            finally:
                self._idle.append(child)
                if not child.is_running and not self._closed:
                    # Start the next process now, so that the next turn does not wait for it.
                    task = asyncio.create_task(_replace(child))
                    self._replacements.add(task)
                    task.add_done_callback(self._replacements.discard)

    def _take_child(self) -> Child:
        """Return an idle child, preferably one that runs.

        A child is always idle here, because `Turns` grants only as many places as the pool has children.
        """
        child = next((each for each in reversed(self._idle) if each.is_running), self._idle[-1])
        self._idle.remove(child)
        return child

    def confinement(self) -> dict[str, bool]:
        """Return for each part of the confinement (`confinement.PARTS`) whether all children have it."""
        return {
            part: all(part in child.confinement_parts for child in self._children) for part in PARTS
        }

    @property
    def running(self) -> int:
        """Turns that have a child."""
        return self._turns.running

    @property
    def waiting(self) -> int:
        """Turns that wait for a child."""
        return self._turns.waiting

    def details(self) -> dict[str, object]:
        """Return the confinement, and how many children, running turns and waiting turns the pool has."""
        return {
            "confined": self.confinement(),
            "size": len(self._children),
            "running": self.running,
            "waiting": self.waiting,
        }

    async def run(self, job: Frame) -> Frame:
        """Run one job of the service itself."""
        async with self.turn(None) as turn:
            return await turn.run(job)

    def _check_open(self) -> None:
        if self._closed:
            raise WorkerUnavailable("the workers are closed")


async def _replace(child: Child) -> None:
    with contextlib.suppress(WorkerUnavailable):  # the next job tries again
        await child.start()


class Turn(Jobs):
    """The use of a child process for the jobs of one request, one after the other, within a block of `Workers.turn`."""

    def __init__(
        self, child: Child, ends_at: float, recycle_bytes: int, *, of_service: bool
    ) -> None:
        self._child = child
        self._ends_at = ends_at
        self._permitted_seconds = ends_at - time.monotonic()
        self._recycle_bytes = recycle_bytes
        self._of_service = of_service
        self._priority_lowered = False
        self._watch: asyncio.TimerHandle | None = None

    async def run(self, job: Frame) -> Frame:
        """Return the child's result. Raises `WorkerTimeout`, `WorkerDied` and `WorkerUnavailable`.

        Kill the child if the job fails, if no result arrives in time, if the child holds too much memory after the job,
        and if the caller is cancelled.

        After `SLOW_SECONDS` of CPU time, or `SERVICE_SLOW_SECONDS` for a job of the service, the job runs with lower
        priority. Quick jobs and the services then keep their speed on a machine without idle cores. A child with lower
        priority is killed after its job.
        """
        is_reusable = False
        # A child with lower priority was killed after its job, so this job's child has normal priority.
        self._priority_lowered = False
        slow_seconds = SERVICE_SLOW_SECONDS if self._of_service else SLOW_SECONDS
        self._watch_cpu(self._child.cpu_seconds() + slow_seconds)
        try:
            async with asyncio.timeout(max(0.0, self._ends_at - time.monotonic())):
                result = await self._child.run(job)
            rss = result.values.get("rss")
            is_reusable = (
                "failed" not in result.values
                and isinstance(rss, int)
                and rss <= self._recycle_bytes
                and not self._priority_lowered
            )
        except TimeoutError:
            raise WorkerTimeout(self._permitted_seconds) from None
        finally:
            if self._watch is not None:
                self._watch.cancel()
            if not is_reusable:
                await self._child.kill()
        return result

    def _watch_cpu(self, limit: float) -> None:
        """Lower the priority of the child when its CPU time reaches `limit`."""
        remaining = limit - self._child.cpu_seconds()
        if remaining <= 0:
            self._priority_lowered = True
            self._child.lower_priority()
            return
        # The process has one busy thread, so it cannot reach the limit earlier.
        self._watch = asyncio.get_running_loop().call_later(
            max(remaining, 0.01), self._watch_cpu, limit
        )
