"""Build the images with buildah on a base that debootstrap makes, and test containers of them with podman.

`make images-check` runs this as root on Debian. It needs no image registry and no running daemon. The images stay in
`.tools/containers`, so that a second run builds only changed layers.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.build import debian, tools, versions
from deploy.build.images.engine import Engine
from deploy.build.values import SERVICES
from svgx_common.configuration import build

PROGRAMS = {
    "buildah": "buildah",
    "crun": "crun",
    "debootstrap": "debootstrap",
    "podman": "podman",
    "unshare": "util-linux",
}
"""The programs, with their packages of Debian."""

STORE = tools.FOLDER / "containers"
OPTIONS = ("--root", str(STORE / "storage"), "--runroot", str(STORE / "run"))
"""Options with which buildah and podman use the folders of this check for images and containers."""

LOWEST = 19
"""The niceness of the builds: the lowest priority. The tests have time limits, so they run at normal priority."""

BASE = "localhost/svgx-base:debian"
BASE_PACKAGES = ("ca-certificates", "python-is-python3", "python3", "python3-venv")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TAG = "check"
CHECK = tools.ROOT / "tests" / "deploy" / "checks" / "check_images.py"

HYBRID_CGROUPS = Path("/sys/fs/cgroup/unified")
"""The mount with which systemd adds control groups v2 to v1 (hybrid mode). crun refuses to run in this mode."""


def main() -> None:
    """Build the images and run their tests. The exit status is that of the tests."""
    debian.require(PROGRAMS)
    _leave_hybrid_cgroups()
    os.nice(LOWEST)
    STORE.mkdir(parents=True, exist_ok=True)
    buildah = Engine("buildah", OPTIONS)
    if not has_base():
        _make_base(buildah)
    values = {"BASE": BASE, "VERSION": versions.current(), "REVISION": versions.revision()}
    for service in SERVICES:
        # The isolation `chroot` needs no runtime. A build then shares the network and the process ids of the machine.
        buildah.build(service, image(service), values, "--isolation", "chroot")
    os.nice(-LOWEST)
    pytest = [sys.executable, "-m", "pytest", "-q", "-s", "--timeout", "600", str(CHECK)]
    environment = os.environ | {build.VARIABLE: values["REVISION"]}
    sys.exit(subprocess.run(pytest, cwd=tools.ROOT, env=environment, check=False).returncode)


def has_base() -> bool:
    """Return whether this check has made its base image on this machine."""
    command = ("buildah", *OPTIONS, "images", "--quiet", "--filter", f"reference={BASE}")
    return (STORE / "storage").is_dir() and _output(*command) != ""


def image(service: str) -> str:
    """Return the name of a service's image."""
    return f"localhost/svgx/{service}:{TAG}"


def _leave_hybrid_cgroups() -> None:
    """Restart this program in a mount namespace of its own, without the mount that crun refuses."""
    if HYBRID_CGROUPS.is_mount():
        umount = f'umount {HYBRID_CGROUPS} && exec "$@"'
        again = (sys.executable, "-m", "deploy.build.images.check")
        os.execvp("unshare", ("unshare", "--mount", "sh", "-c", umount, "sh", *again))  # noqa: S606, S607


def _make_base(buildah: Engine) -> None:
    """Make the base image: Debian's Python, and this machine's settings for the package index."""
    print(f"making {BASE} with debootstrap", flush=True)
    folder = STORE / "base"
    shutil.rmtree(folder, ignore_errors=True)
    suite = next(
        line.partition("=")[2].strip()
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    packages = ",".join(BASE_PACKAGES)
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(folder)]
    log = STORE / "debootstrap.log"
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"debootstrap failed: see {log}")
    shutil.copyfile(CERTIFICATES, folder / CERTIFICATES.relative_to("/"))
    index = os.environ.get("PIP_INDEX_URL")
    lines = ["[global]", f"cert = {CERTIFICATES}", *([f"index-url = {index}"] if index else [])]
    (folder / "etc" / "pip.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    container = _output("buildah", *OPTIONS, "from", "scratch")
    buildah.run("add", "--quiet", container, str(folder), "/")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    buildah.run("config", "--env", f"PATH={path}", container)
    buildah.run("commit", "--quiet", "--rm", "--format", "docker", container, BASE)
    shutil.rmtree(folder)


def _output(*command: str) -> str:
    """Return the output of a command that must succeed."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
