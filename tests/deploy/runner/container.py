"""A container's process: its command line and variables, its start and its end."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from svgx_devstack import process as devstack_process
from tests.deploy.objects import Object
from tests.deploy.runner.environment import expand
from tests.deploy.runner.image import Image
from tests.deploy.runner.substitution import Substitution


@dataclass(frozen=True, slots=True)
class Container:
    """The process of a container, as the kubelet would start it, with paths and addresses of this machine."""

    name: str
    argv: tuple[str, ...]
    variables: Mapping[str, str]
    image: Image
    log: Path
    substitution: Substitution

    async def start(self) -> asyncio.subprocess.Process:
        """Start the process, and append its output to the log. It is killed when the test process ends."""
        with self.log.open("ab") as output:
            return await self._launch(self.argv, signal.SIGKILL, output.fileno())

    async def execute(self, command: list[str]) -> int:
        """Run the command of a probe or hook in addition to the process, and return the command's exit status."""
        argv = tuple(self.substitution(part) for part in command)
        process = await self._launch(argv, signal.SIGKILL, asyncio.subprocess.DEVNULL)
        try:
            return await process.wait()
        finally:
            kill(process)

    async def _launch(
        self, argv: tuple[str, ...], death_signal: signal.Signals, output: int
    ) -> asyncio.subprocess.Process:
        demote = self.image.not_as_root and os.geteuid() == 0
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", devstack_process.LAUNCH),
            *(str(os.getpid()), str(int(death_signal)), "1" if demote else "0"),
            *(self._program(argv[0]), *argv[1:]),
            env=dict(self.variables),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def _program(self, name: str) -> str:
        """Return the path of a program in the container's `PATH`."""
        for folder in self.variables["PATH"].split(":"):
            path = Path(folder) / name
            if path.is_file():
                return str(path)
        raise FileNotFoundError(f"{name} is not in the image of the container {self.name}")


def kill(process: asyncio.subprocess.Process) -> None:
    """Send SIGKILL to the process and its children, because a container ends with its first process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def build(
    spec: Object,
    image: Image,
    variables: Mapping[str, str],
    substitution: Substitution,
    log: Path,
) -> Container:
    """Return the container that `spec` describes, with resolved environment variables."""
    replaced = {name: substitution(value) for name, value in variables.items()}
    programs = [*map(str, image.programs), "/usr/bin", "/bin"]
    all_variables = {
        "PATH": ":".join(programs),
        **image.variables,
        "POD_ADDRESS": substitution.address,
        **({"TMPDIR": str(substitution.paths["/tmp"])} if "/tmp" in substitution.paths else {}),
        **replaced,
    }
    command = spec.get("command", image.entrypoint)
    argv = [substitution(expand(part, variables)) for part in (*command, *spec.get("args", []))]
    return Container(spec["name"], tuple(argv), all_variables, image, log, substitution)
