"""Installation of locked packages into a folder."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def install(folder: Path, lock: Path, wheels: Iterable[Path] = ()) -> None:
    """Install the packages of a lock file into a folder and check their hashes. Then add wheels of this repository."""
    command = [
        *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-config"),
        *("--python", sys.executable, "--target", str(folder), "--no-deps"),
    ]
    subprocess.run([*command, "--require-hashes", "--requirement", str(lock)], check=True)
    if own := [str(wheel) for wheel in wheels]:
        subprocess.run([*command, "--offline", *own], check=True)
