"""Run a pod with one container as the kubelet does: start, probe, restart and stop the container."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping

from tests.deploy.objects import Object
from tests.deploy.runner.container import Container, kill
from tests.deploy.runner.probe import Probe

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 10.0
"""The shortest and the longest delay of a restart, in seconds. Each delay is twice the previous delay."""


class Pod:
    """A pod with one container.

    A service sends connections to a pod that is `ready` and not `terminating`. `gone` is true when the deleted pod has
    ended. `events` lists restarts, failed startup and liveness probes, and kills after the grace period. A healthy
    installation has no events.
    """

    def __init__(
        self, pod: Object, container: Container, address: str, changed: Callable[[], None]
    ) -> None:
        self.name: str = pod["metadata"]["name"]
        self.labels: Mapping[str, str] = pod["metadata"]["labels"]
        self.address = address
        self.ready = self.gone = False
        self._terminating = asyncio.Event()
        self.events: list[str] = []
        spec = pod["spec"]["containers"][0]
        self.ports = {
            each["name"]: int(each["containerPort"]) for each in spec["ports"] if "name" in each
        }
        self.limits: Mapping[str, str] = spec["resources"]["limits"]
        self._spec = spec
        self._grace_seconds: float = pod["spec"].get("terminationGracePeriodSeconds", 30)
        self._container = container
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._run_task = asyncio.create_task(self._run(), name=self.name)
        self._stop_task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The id of the container's process, or None while it does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    def delete(self) -> None:
        """Begin to stop the pod: services stop using it, and its process gets the stop signal.

        If the process has not ended within the grace period, it is killed.
        """
        if not self.terminating:
            self._terminating.set()
            self._changed()
            self._stop_task = asyncio.create_task(self._stop(), name=f"stop {self.name}")

    async def wait_gone(self) -> None:
        """Wait until the deleted pod has ended."""
        assert self._stop_task is not None
        await self._stop_task

    def kill(self) -> None:
        """End the pod at once."""
        self._run_task.cancel()
        if self._stop_task is not None:
            self._stop_task.cancel()
        if self._process is not None:
            kill(self._process)

    @property
    def terminating(self) -> bool:
        """True after `delete` was called."""
        return self._terminating.is_set()

    async def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._terminating.is_set():
            self._process = process = await self._container.start()
            probing = asyncio.create_task(self._probe(process))
            try:
                status = await process.wait()
            finally:
                probing.cancel()
                kill(process)
            # `probing` was cancelled above. If a probe raised an error before that, `await` raises the error here.
            with contextlib.suppress(asyncio.CancelledError):
                await probing
            self._set_ready(False)
            if self._terminating.is_set():
                return
            self.events.append(f"{self.name} ended with status {status} and starts again")
            self._changed()
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _probe(self, process: asyncio.subprocess.Process) -> None:
        """Run the startup probe until it succeeds. Then run the readiness and liveness probes until cancelled."""
        await self._wait_started(process)

        def report_alive(alive: bool) -> None:
            if not alive:
                self._fail("liveness", process)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._probe_of("readinessProbe").run(self._set_ready))
            group.create_task(self._probe_of("livenessProbe").run(report_alive))

    async def _wait_started(self, process: asyncio.subprocess.Process) -> None:
        started = asyncio.Event()

        def report_started(up: bool) -> None:
            if up:
                started.set()
            else:
                self._fail("startup", process)

        probing = asyncio.create_task(self._probe_of("startupProbe").run(report_started))
        try:
            await started.wait()
        finally:
            probing.cancel()

    def _probe_of(self, name: str) -> Probe:
        return Probe.of(self._spec[name], self.address, self.ports, self._container.execute)

    def _fail(self, probe: str, process: asyncio.subprocess.Process) -> None:
        """Kill the container, because its probe has failed. The pod then restarts the container."""
        self.events.append(f"{self.name} failed its {probe} probe")
        kill(process)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._changed()

    async def _stop(self) -> None:
        process = self._process
        try:
            async with asyncio.timeout(self._grace_seconds):
                hook = self._spec.get("lifecycle", {}).get("preStop")
                if hook is not None:
                    await self._container.execute(hook["exec"]["command"])
                if process is not None and process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, self._container.image.stop_signal)
                await self._run_task
        except TimeoutError:
            self.events.append(
                f"{self.name} did not stop within {self._grace_seconds:.0f} s: killed"
            )
            if process is not None:
                kill(process)
                await process.wait()
        self.ready = False
        self.gone = True
        self._changed()
