"""Programs that build images: docker, podman and buildah."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.build.tools import ROOT

PROGRAMS = ("docker", "podman", "buildah")
"""The programs, the preferred one first."""


class EngineError(Exception):
    """A command of an engine has failed. Its output is printed already."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One of `PROGRAMS`, the options before its commands, and the copy of the repository with the Dockerfiles."""

    program: str
    options: Sequence[str] = ()
    root: Path = ROOT

    def build(self, service: str, tag: str, arguments: Mapping[str, str], *extra: str) -> None:
        """Build the image of a service. `arguments` are the values of the Dockerfile's arguments."""
        command = ["bud" if self.program == "buildah" else "build", *extra]
        if self.program != "docker":
            # The OCI format has no HEALTHCHECK. `--layers` reuses layers of an earlier build, as docker always does.
            command += ["--format", "docker", "--layers"]
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        file = self.root / "services" / service / "Dockerfile"
        self.run(*command, "--file", str(file), "--tag", tag, str(self.root))

    def save(self, tag: str, path: Path) -> None:
        """Write an image into an archive that `docker load` and `podman load` read."""
        match self.program:
            case "docker":
                self.run("save", "--output", str(path), tag)
            case "podman":
                self.run("save", "--format", "docker-archive", "--output", str(path), tag)
            case _:
                self.run("push", "--quiet", tag, f"docker-archive:{path}:{tag}")

    def push(self, tag: str, reference: str, *, plain_http: bool) -> None:
        """Push an image to a registry.

        docker always permits plain HTTP to a registry of this machine. The other programs need `plain_http` for that.
        """
        if self.program == "docker":
            self.run("tag", tag, reference)
            self.run("push", reference)
        else:
            verify = f"--tls-verify={str(not plain_http).lower()}"
            self.run("push", "--quiet", verify, tag, f"docker://{reference}")

    def run(self, *arguments: str) -> None:
        """Run a command. Raise `EngineError` when it fails."""
        command = [self.program, *self.options, *arguments]
        if subprocess.run(command, check=False).returncode != 0:
            raise EngineError(" ".join(command))


def find(words: Sequence[str] = ()) -> Engine | None:
    """Return the engine with the program and the options in `words`.

    Without words, return the first of `PROGRAMS` that works on this machine, or None.
    """
    if words:
        program, *options = words
        return Engine(program, options)
    for program in PROGRAMS:
        if shutil.which(program) is None:
            continue
        # The client of docker cannot build alone: its daemon has to answer.
        answer = subprocess.run([program, "info"], capture_output=True, check=False)
        if answer.returncode == 0:
            return Engine(program)
    return None


def require(words: Sequence[str] = ()) -> Engine:
    """Return the engine that `find` returns. End the process when `find` returns None."""
    found = find(words)
    if found is None:
        sys.exit(f"no image builder works here: start or install one of {', '.join(PROGRAMS)}")
    return found
