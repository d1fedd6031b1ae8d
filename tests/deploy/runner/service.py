"""Kubernetes services as TCP proxies. Each new connection goes to the next ready pod in turn."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from svgx_devstack import process as devstack_process
from tests.deploy.objects import Object
from tests.deploy.runner.pod import Pod

_PROGRAM = Path(__file__).with_name("proxy.py")

_FIRST_COMMON_PORT = 1024
"""The lowest port on which a program without the rights of root may listen."""


class Proxies:
    """The process that runs the proxies of all services (`proxy.py`)."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._targets: dict[str, list[tuple[str, int]]] = {}

    async def start(self) -> None:
        """Start the process. It is killed when the test process ends."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", devstack_process.LAUNCH),
            *(str(os.getpid()), str(int(signal.SIGKILL)), "0"),
            *(sys.executable, "-I", "-S", str(_PROGRAM)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def listen(self, name: str, host: str, port: int) -> int:
        """Open a listener, and return its port. If `port` is 0, a free port is chosen."""
        self._send({"name": name, "listen": [host, port]})
        assert self._process is not None
        assert self._process.stdout is not None
        return int(await self._process.stdout.readline())

    def set_targets(self, name: str, targets: list[tuple[str, int]]) -> None:
        """Send new connections to these addresses. Existing connections stay open, as with kube-proxy."""
        if self._targets.get(name) != targets:
            self._targets[name] = targets
            self._send({"name": name, "targets": targets})

    async def stop(self) -> None:
        """End the process, and with it all connections."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    def _send(self, command: dict[str, object]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")


class Service:
    """One service: its address, and the pods that it selects."""

    def __init__(self, service: Object, address: str, proxies: Proxies) -> None:
        self.name: str = service["metadata"]["name"]
        self.address = address
        self._spec = service["spec"]
        self._proxies = proxies
        self._ports: dict[int, int] = {}

    async def start(self) -> None:
        """Listen on all ports of the service. For a port below 1024, listen on a free port instead."""
        for entry in self._spec["ports"]:
            port = entry["port"] if entry["port"] >= _FIRST_COMMON_PORT else 0
            self._ports[entry["port"]] = await self._proxies.listen(
                self._key(entry), self.address, port
            )

    def host_and_port(self, port: int) -> str:
        """Return the host and port that stand for a port of the service, such as `127.5.6.7:4222`."""
        return f"{self.address}:{self._ports[port]}"

    def update(self, pods: Iterable[Pod]) -> None:
        """Send new connections to the selected pods that are ready and not terminating."""
        selected = [
            pod
            for pod in pods
            if pod.ready
            and not pod.terminating
            and self._spec["selector"].items() <= pod.labels.items()
        ]
        for entry in self._spec["ports"]:
            target = entry["targetPort"]
            self._proxies.set_targets(
                self._key(entry),
                [
                    (pod.address, pod.ports[target] if isinstance(target, str) else target)
                    for pod in selected
                ],
            )

    def _key(self, entry: Object) -> str:
        return f"{self.name}:{entry['port']}"
