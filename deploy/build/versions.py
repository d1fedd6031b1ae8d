"""The version of the product, and the revision of its source code.

All files of `PLACES` contain the version. `current` refuses a copy of the repository in which these files have
different versions. For a release, `write` sets the version in a copy of the repository.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.build.tools import ROOT

VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(alpha|beta|rc)\.(0|[1-9]\d*))?")
"""A version such as `1.4.0` or `1.4.0-rc.1`. Helm accepts it (SemVer 2); `python_version` converts it for wheels."""

_PRE_RELEASES = {"alpha": "a", "beta": "b", "rc": "rc"}

PLACES: dict[str, str] = {
    "libs/*/pyproject.toml": r'(?m)(?<=^version = ")[^"]+(?=")',
    "services/*/pyproject.toml": r'(?m)(?<=^version = ")[^"]+(?=")',
    "services/*/Dockerfile": r"(?m)(?<=^ARG VERSION=).+$",
    "deploy/helm/*/Chart.yaml": r"(?m)(?:(?<=^version: )|(?<=^appVersion: )|(?<=^    version: )).+$",
    ".env.example": r"(?m)(?<=^SVGX_VERSION=).+$",
    "docker-compose.yml": r"(?<=SVGX_VERSION:-)[^}]+(?=})",
    "deploy/scripts/make_env.sh": r"(?<=SVGX_VERSION:-)[^}]+(?=})",
}
"""For each pattern of paths: the regular expression that matches only the version in these files."""


def current(root: Path = ROOT) -> str:
    """Return the version of a copy of the repository. Raise `ValueError` when its files have several versions."""
    found = {version for _, version in versions(root)}
    if len(found) != 1:
        raise ValueError(
            f"the files have the versions {', '.join(sorted(found))}: write one into all"
        )
    return found.pop()


def versions(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file with each version in it, in Helm's form. Raise `ValueError` for a file without a version."""
    for pattern, expression in PLACES.items():
        for path in sorted(root.glob(pattern)):
            matches = re.findall(expression, path.read_text(encoding="utf-8"))
            if not matches:
                raise ValueError(f"{path} has no version")
            yield from ((path, _semantic(match)) for match in matches)


def write(root: Path, version: str) -> None:
    """Write the version into all files of a copy of the repository."""
    if not VERSION.fullmatch(version):
        raise ValueError(f"{version} is not a version such as 1.4.0 or 1.4.0-rc.1")
    for pattern, expression in PLACES.items():
        text = python_version(version) if pattern.endswith("pyproject.toml") else version
        for path in sorted(root.glob(pattern)):
            path.write_text(
                re.sub(expression, text, path.read_text(encoding="utf-8")), encoding="utf-8"
            )


def python_version(version: str) -> str:
    """Return the version as a wheel has it: `1.4.0rc1` for `1.4.0-rc.1`."""
    release, _, pre = version.partition("-")
    name, _, number = pre.partition(".")
    return f"{release}{_PRE_RELEASES[name]}{number}" if pre else release


def _semantic(version: str) -> str:
    for name, short in _PRE_RELEASES.items():
        version = re.sub(rf"(?<=\d){short}(\d+)$", rf"-{name}.\1", version)
    return version


def revision(root: Path = ROOT) -> str:
    """Return the commit of a clone, with `-dirty` when its files differ from the commit; `unknown` without git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit}-dirty" if _git(root, "status", "--porcelain") else commit


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of a git command, or None when it fails."""
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
