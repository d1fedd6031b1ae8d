"""Run all objects that Helm rendered as processes and proxies on this machine."""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.deploy.objects import Object
from tests.deploy.runner import container, environment, volumes
from tests.deploy.runner.image import Images
from tests.deploy.runner.pod import Pod
from tests.deploy.runner.rendered import Rendered
from tests.deploy.runner.service import Proxies, Service
from tests.deploy.runner.substitution import Substitution
from tests.deploy.runner.workload import Workload

_TIMEOUT = 120.0
"""Seconds after which `until` raises `TimeoutError`."""


class Cluster:
    """The running objects, as an async context manager. At the end of the block, all processes end.

    `workloads` are the Deployments and StatefulSets by name. `pods` are all pods since the start, including ended ones.
    `changes` counts the changes of pods.
    """

    def __init__(self, rendered: Rendered, folder: Path) -> None:
        self.pods: list[Pod] = []
        self.changes = 0
        self.folder = folder
        self.workloads = {
            each["metadata"]["name"]: Workload(self, each)
            for each in rendered.of_kind("StatefulSet", "Deployment")
        }
        self._rendered = rendered
        self._images = Images(folder / "images")
        # A random network, so that two clusters on one machine hardly ever use the same addresses.
        self._network = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"
        self._host_numbers = itertools.count(1)
        self._changed = asyncio.Event()
        self._pod_addresses: dict[str, str] = {}
        self._services: dict[str, Service] = {}
        self._proxies = Proxies()

    async def __aenter__(self) -> Self:
        try:
            await self._proxies.start()
            for each in self._rendered.of_kind("Service"):
                await self._create_service(each)
            async with asyncio.TaskGroup() as group:
                for workload in self.workloads.values():
                    group.create_task(workload.start())
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    @property
    def events(self) -> list[str]:
        """The events of all pods (see `Pod`)."""
        return [event for pod in self.pods for event in pod.events]

    def address(self, service: str, port: int) -> str:
        """Return the host and port, such as `127.5.6.7:4222`, at which a port of a service is reached."""
        return self._services[service].host_and_port(port)

    def log(self, pod: str) -> str:
        """Return the output of a pod."""
        return (self.folder / f"{pod}.log").read_text(encoding="utf-8", errors="replace")

    async def create_pod(self, pod: Object) -> Pod:
        """Start the pod of a manifest."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        address = self._pod_address(name)
        (spec,) = pod["spec"]["containers"]
        folder = self.folder / "volumes" / name
        substitution = Substitution(
            volumes.mount_points(spec, folder), self._addresses_by_name(namespace), address
        )
        resolved = environment.variables(spec, pod, address, self._rendered)
        built = container.build(
            spec,
            self._images.find(spec["image"]),
            resolved,
            substitution,
            self.folder / f"{name}.log",
        )
        volumes.write(pod, folder, self._rendered, substitution)
        created = Pod(pod, built, address, self._notify)
        self.pods.append(created)
        return created

    async def until(self, condition: Callable[[], bool], goal: str) -> None:
        """Wait until the condition is true. Check it at once, and after each change of any pod.

        Raise `TimeoutError` after 120 s.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            states = ", ".join(f"{pod.name} ready={pod.ready}" for pod in self.pods if not pod.gone)
            raise TimeoutError(f"not true within {_TIMEOUT:.0f} s: {goal}; {states}") from None

    def _notify(self) -> None:
        """Report a change of a pod to the services, and wake the tasks that wait for a change."""
        self.changes += 1
        for service in self._services.values():
            service.update(self.pods)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _create_service(self, service: Object) -> None:
        if service["spec"].get("clusterIP") == "None":
            return
        created = Service(service, self._next_address(), self._proxies)
        await created.start()
        self._services[created.name] = created

    def _addresses_by_name(self, namespace: str) -> dict[str, str]:
        """Return the addresses of all services, and of the pods of StatefulSets, by DNS name."""
        short = {service.name: service.address for service in self._services.values()}
        for each in self._rendered.of_kind("StatefulSet"):
            for number in range(each["spec"]["replicas"]):
                pod = f"{each['metadata']['name']}-{number}"
                short[f"{pod}.{each['spec']['serviceName']}"] = self._pod_address(pod)
        return {
            f"{name}{suffix}": address
            for name, address in short.items()
            for suffix in (
                "",
                f".{namespace}",
                f".{namespace}.svc",
                f".{namespace}.svc.cluster.local",
            )
        }

    def _pod_address(self, name: str) -> str:
        """Return the address of a pod by its name. A later StatefulSet pod with this name gets the same address."""
        if name not in self._pod_addresses:
            self._pod_addresses[name] = self._next_address()
        return self._pod_addresses[name]

    def _next_address(self) -> str:
        return f"{self._network}.{next(self._host_numbers)}"

    async def _end(self) -> None:
        """End all processes and proxies at once."""
        for pod in self.pods:
            pod.kill()
        await self._proxies.stop()
