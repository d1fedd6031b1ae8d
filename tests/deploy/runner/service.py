"""A Kubernetes service as a TCP proxy: a new connection goes to one of the ready pods, in turn."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence

from svgx_devstack import ports
from tests.deploy.runner.pod import Pod
from tests.deploy.runner.rendered import Object

_CHUNK = 64 * 1024

_FIRST_COMMON_PORT = 1024
"""The first port on which a program may listen that does not run as root."""


class Service:
    """The proxy of one service. Connections to a pod that leaves the service stay open, as with kube-proxy."""

    def __init__(self, service: Object, address: str, pods: Callable[[], Sequence[Pod]]) -> None:
        self.name: str = service["metadata"]["name"]
        self.address = address
        self._spec = service["spec"]
        self._pods = pods
        self._turns = itertools.count()
        self._servers: dict[int, asyncio.Server] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on all ports of the service. A port below 1024 becomes a free port."""
        for entry in self._spec["ports"]:

            def accept(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                target: int | str = entry["targetPort"],
            ) -> None:
                task = asyncio.create_task(self._forward(reader, writer, target))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

            port = entry["port"] if entry["port"] >= _FIRST_COMMON_PORT else ports.choose()
            self._servers[entry["port"]] = await asyncio.start_server(accept, self.address, port)

    async def stop(self) -> None:
        """Close the listeners and all connections."""
        for server in self._servers.values():
            server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def host_and_port(self, port: int) -> str:
        """Return the address on which a port of the service is reached here, such as `127.5.6.7:80`."""
        host, actual = self._servers[port].sockets[0].getsockname()
        return f"{host}:{actual}"

    def selects(self, pod: Pod) -> bool:
        """Return whether the pod has the labels that the service selects."""
        return bool(self._spec["selector"].items() <= pod.labels.items())

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int | str
    ) -> None:
        """Copy bytes between the client and a ready pod. Without a ready pod the connection is closed."""
        pods = [
            pod for pod in self._pods() if self.selects(pod) and pod.ready and not pod.terminating
        ]
        try:
            if not pods:
                return
            pod = pods[next(self._turns) % len(pods)]
            port = pod.ports[target] if isinstance(target, str) else target
            with contextlib.suppress(ConnectionError):
                pod_reader, pod_writer = await asyncio.open_connection(pod.address, port)
                try:
                    await _copy_both(reader, writer, pod_reader, pod_writer)
                finally:
                    pod_writer.close()
        finally:
            writer.close()


async def _copy_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pod_reader: asyncio.StreamReader,
    pod_writer: asyncio.StreamWriter,
) -> None:
    """Copy in both directions until either side closes."""
    copies = {
        asyncio.create_task(_copy(reader, pod_writer)),
        asyncio.create_task(_copy(pod_reader, writer)),
    }
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
