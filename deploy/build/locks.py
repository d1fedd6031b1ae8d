"""Write each smaller lock, such as those of the services and of `make run`, from entries of the repository's lock."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.build.tools import ROOT
from deploy.build.values import SERVICES

LOCK = ROOT / "requirements.lock"
BUILD_LOCK = ROOT / "deploy" / "build" / "build.lock"
INSTALLER_LOCK = ROOT / "deploy" / "build" / "installer.lock"
"""The lock of uv, which installs the other packages on a developer's machine."""

DEVSTACK_LOCK = ROOT / "libs" / "devstack" / "requirements.lock"
"""The lock of `make run`: the services, the development stack, the client, and the builder of editable packages."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python for which a lock is complete."""


def locks() -> dict[Path, str]:
    """Return the content of each lock: of the services, of the builders, of the installer and of `make run`."""
    files = {path_of(service): _lock(third_party(service)) for service in SERVICES}
    tools = [*_dependencies("libs/devstack"), *_dependencies("libs/client")]
    run = [*(text for text in tools if not text.startswith("svgx-")), "hatchling", "editables"]
    for service in SERVICES:
        run += third_party(service)
    return {
        **files,
        BUILD_LOCK: _lock(["hatchling"]),
        INSTALLER_LOCK: _lock(["uv"]),
        DEVSTACK_LOCK: _lock(run),
    }


def path_of(service: str) -> Path:
    """Return the path of a service's lock."""
    return ROOT / "services" / service / "requirements.lock"


def own_packages(service: str) -> list[str]:
    """Return the folders of this repository that a service needs, its libraries first, such as `libs/common`."""
    found: dict[str, None] = {}

    def visit(folder: str) -> None:
        for name in _dependencies(folder):
            if name.startswith("svgx-"):
                visit(f"libs/{name.removeprefix('svgx-')}")
        found[folder] = None

    visit(f"services/{service}")
    return list(found)


def third_party(service: str) -> list[str]:
    """Return the packages of other projects that a service and its libraries require directly."""
    return [
        text
        for folder in own_packages(service)
        for text in _dependencies(folder)
        if not text.startswith("svgx-")
    ]


def _dependencies(folder: str) -> list[str]:
    content: dict[str, Any] = tomllib.loads(
        (ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")
    )
    return list(content["project"]["dependencies"])


def _lock(requirements: Iterable[str]) -> str:
    needed = set(_closure(requirements))
    entries = _entries(LOCK.read_text(encoding="utf-8"))
    return "".join(text for name, text in entries if name in needed)


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each entry of a lock file."""
    for match in re.finditer(
        r"^([\w.-]+)(?:\[[^\]]*\])?==[^\n]*\n(?:    [^\n]*\n?)*", text, re.MULTILINE
    ):
        yield canonicalize_name(match[1]), match[0]


def _closure(requirements: Iterable[str]) -> Iterator[str]:
    """Yield the names of all packages that the requirements need on Linux, with one of `PYTHONS`."""
    pending = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            yield name
            try:
                texts = requires(name) or []
            except PackageNotFoundError:
                continue  # only another version of Python needs the package
            found = [Requirement(text) for text in texts]
            pending += [each for each in found if _applies(each, extra)]


def _applies(requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None:
        return True
    return any(
        requirement.marker.evaluate(
            {
                "sys_platform": "linux",
                "extra": extra,
                "python_version": python,
                "python_full_version": f"{python}.0",
            }
        )
        for python in PYTHONS
    )


if __name__ == "__main__":
    for path, content in locks().items():
        path.write_text(content, encoding="utf-8")
