"""Programs that slow checks need. Go builds them from source into `.tools`.

`python -m tests.deploy.go_program traces` builds the program that the tests in `traces` need.

In the folder of a program's tests, `go.mod` has the program's version and `go.sum` all hashes. The first build takes
minutes; later calls return at once.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.build import tools


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program: its name, the Go package of its main function, and the folder with `go.mod` and `go.sum`."""

    name: str
    package: str
    module: Path

    @property
    def path(self) -> Path:
        """The path of the built program."""
        return tools.FOLDER / self.name / self.name

    @property
    def _stamp(self) -> Path:
        return self.path.with_name("installed")

    def missing_compiler(self) -> str | None:
        """Return the reason why the program cannot be built here, or None. A built program needs no compiler."""
        if self._is_current() or shutil.which("go") is not None:
            return None
        text = (self.module / "go.mod").read_text(encoding="utf-8")
        wanted = re.search(r"^go (\d+\.\d+)", text, re.MULTILINE)
        assert wanted is not None
        return f"Go is not installed: install Go {wanted[1]} or newer"

    def require(self) -> None:
        """Build the program if it is missing. If this is not possible, skip the test, or fail it if `CI` is set."""
        reason = self.missing_compiler()
        if reason is None:
            self.install()
        elif os.environ.get("CI"):
            pytest.fail(reason)
        else:
            pytest.skip(reason)

    def install(self) -> None:
        """Build the program, unless it is up to date."""
        if self._is_current():
            return
        print(f"building {self.name} into .tools/{self.name}", flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        subprocess.run(
            [
                *("nice", "-n", "19", "go", "build", "-trimpath", "-p", "2", "-ldflags", "-s -w"),
                *("-o", str(self.path), self.package),
            ],
            cwd=self.module,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
            check=True,
        )
        print(f"  built after {time.monotonic() - started:.0f} s", flush=True)
        self._stamp.write_text(self._fingerprint(), encoding="utf-8")

    def _is_current(self) -> bool:
        return self._stamp.exists() and (
            self._stamp.read_text(encoding="utf-8") == self._fingerprint()
        )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.module / name).read_bytes())
        return digest.hexdigest()


_FOLDER = Path(__file__).parent

JAEGER = GoProgram("jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger", _FOLDER / "traces")
KUBE_ROUTER = GoProgram(
    "kube-router",
    "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    _FOLDER / "network",
)
PROGRAMS = {"traces": JAEGER, "network": KUBE_ROUTER}
"""Each program, by the folder of its tests."""


def main(folders: list[str]) -> None:
    """Build the programs of these folders. Without Go, print the reason. The tests are then skipped, or fail in CI."""
    for folder in folders:
        program = PROGRAMS[folder]
        reason = program.missing_compiler()
        if reason is not None:
            print(f"cannot build {program.name}: {reason}", flush=True)
        else:
            program.install()


if __name__ == "__main__":
    main(sys.argv[1:])
