"""requirements.lock has every version and hash. It has no address, because each machine chooses its package index."""

import re

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
