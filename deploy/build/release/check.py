"""Build a release, and run its tests with a docker-registry of this machine. `make release-check` runs this on Debian.

The release has images if `make images-check` has made their base.
"""

import os
import subprocess
import sys

from deploy.build import debian, tools, versions
from deploy.build.images.check import BASE, LOWEST, OPTIONS, has_base
from svgx_common.configuration import build

PROGRAMS = {"docker-registry": "docker-registry"}
VERSION = "0.0.1-rc.1"
"""A version that no other release has."""

ENGINE = ("buildah", *OPTIONS)
CHECK = tools.ROOT / "tests" / "deploy" / "checks" / "check_release.py"


def main() -> None:
    """Build the release and run its tests. The exit status is that of the tests."""
    debian.require(PROGRAMS)
    os.nice(LOWEST)
    release = [sys.executable, "-m", "deploy.build.release", VERSION]
    if has_base():
        release += ["--engine", " ".join(ENGINE), "--base", BASE]
    else:
        print("note: no images, because `make images-check` has not made their base image")
        release += ["--images", "no"]
    # With this isolation, Debian's buildah needs no container runtime such as runc.
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
    environment[build.VARIABLE] = versions.revision().removesuffix("-dirty")
    subprocess.run(release, cwd=tools.ROOT, env=environment, check=True)
    os.nice(-LOWEST)
    pytest = [sys.executable, "-m", "pytest", "-q", "-s", "--timeout", "600", str(CHECK)]
    sys.exit(subprocess.run(pytest, cwd=tools.ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
