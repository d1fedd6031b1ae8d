"""The source code of a release: a copy of the last commit with the version of the release."""

import io
import subprocess
import tarfile
from pathlib import Path

from deploy.build import tools, versions


def export(commit: str, folder: Path, version: str) -> None:
    """Write the files of a commit into `folder`, with the version of the release in them."""
    archive = subprocess.run(
        ["git", "-C", str(tools.ROOT), "archive", commit],  # noqa: S607
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    versions.write(folder, version)
    # The release uses the programs that `make tools` has installed.
    (folder / tools.FOLDER.name).symlink_to(tools.FOLDER)


def commit_time(commit: str) -> str:
    """Return the time of a commit in seconds since 1970. With this time, each build of a commit gives equal wheels."""
    return subprocess.run(
        ["git", "-C", str(tools.ROOT), "log", "-1", "--format=%ct", commit],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
