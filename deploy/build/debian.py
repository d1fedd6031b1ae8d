"""Programs of Debian's packages that the slow checks need."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping


def require(programs: Mapping[str, str]) -> None:
    """Install the packages of the missing programs. End the process when this is not possible."""
    missing = {name: package for name, package in programs.items() if shutil.which(name) is None}
    if not missing:
        return
    packages = sorted(set(missing.values()))
    apt = shutil.which("apt-get")
    if apt is None or os.getuid() != 0:
        sys.exit(f"{', '.join(missing)} not installed: apt-get install {' '.join(packages)}")
    print(f"installing {', '.join(packages)}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    quiet = [apt, "-o", "DPkg::Lock::Timeout=300", "--quiet", "--quiet"]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run([*quiet, *command], env=environment, stdout=subprocess.DEVNULL, check=True)
