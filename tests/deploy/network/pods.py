"""Pods with a network. Each pod is a network namespace, with the pod's address in the cluster and an agent process."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AGENT = Path(__file__).with_name("agent.py")
ROUTER = "169.254.1.1"
"""The address of the node, as pods see it. All traffic between pods goes through the node."""


class Pod:
    """A pod, and its agent: the process that opens and accepts the pod's connections."""

    def __init__(self, address: str, number: int, ports: Sequence[int]) -> None:
        self.address = address
        self.ports = ports
        command = ("unshare", "--net", sys.executable, str(AGENT), *map(str, ports))
        self._agent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()
        self._connect(f"pod{number}")

    def opened(self, targets: Sequence[tuple[str, int]]) -> list[bool]:
        """Try to open a connection to each target. Return, for each target, whether the connection was opened."""
        assert self._agent.stdin is not None
        self._agent.stdin.write(json.dumps(targets) + "\n")
        self._agent.stdin.flush()
        return list(self._read())

    def stop(self) -> None:
        """End the agent. Its network namespace ends with it."""
        with self._agent:
            self._agent.kill()

    def _connect(self, device: str) -> None:
        """Connect the namespace with the node by a pair of devices, and set the routes on both sides."""
        pid = str(self._agent.pid)
        _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _ip("address", "add", f"{ROUTER}/32", "dev", device)
        _ip("link", "set", device, "up")
        _ip("route", "add", f"{self.address}/32", "dev", device)
        inside = ("nsenter", "--target", pid, "--net", "ip")
        _run(*inside, "address", "add", f"{self.address}/32", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "route", "add", ROUTER, "dev", "eth0", "scope", "link")
        _run(*inside, "route", "add", "default", "via", ROUTER)

    def _read(self) -> Any:
        assert self._agent.stdout is not None
        return json.loads(self._agent.stdout.readline())


@contextmanager
def running(pods: Sequence[tuple[str, Sequence[int]]]) -> Iterator[list[Pod]]:
    """Run pods with these addresses and ports."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")
    started: list[Pod] = []
    try:
        for number, (address, ports) in enumerate(pods):
            started.append(Pod(address, number, ports))
        yield started
    finally:
        for pod in started:
            pod.stop()


def is_isolated() -> bool:
    """Return whether this process is in a network namespace without routes, unlike that of the machine."""
    try:
        lines = Path("/proc/self/net/route").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) == 1


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
