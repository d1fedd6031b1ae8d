"""The source code of a release: a copy of the last commit with the version of the release."""

import io
import subprocess
import tarfile
from pathlib import Path

from deploy.build import versions
from deploy.build.tools import FOLDER, ROOT


def export(commit: str, root: Path, version: str) -> None:
    """Write the files of a commit into the folder `root`, with the version of the release in them."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit],  # noqa: S607
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(root, filter="data")
    versions.write(root, version)
    # The release uses the programs that `make tools` has installed.
    (root / FOLDER.name).symlink_to(FOLDER)


def commit_time(commit: str) -> str:
    """Return the time of a commit in seconds since 1970. With this time, each build of a commit gives equal wheels."""
    return subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct", commit],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
