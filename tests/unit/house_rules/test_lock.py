"""requirements.lock: every version and hash, and no address: where to download from is the machine's matter."""

import re

from tests.unit.house_rules.sources import ROOT

_LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
_PINNED = re.compile(
    r"^[a-z0-9][a-z0-9-]*(\[[a-z0-9,-]+\])?==[^ ]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+$",
    re.MULTILINE,
)


def test_it_holds_pinned_and_hashed_packages_only() -> None:
    assert _PINNED.sub("", _LOCK).strip() == ""


def test_it_has_no_addresses() -> None:
    assert not re.search(r"://|@ |--index|--find-links|--extra|file:", _LOCK)


def test_it_has_everything_that_is_asked_for() -> None:
    asked = {
        re.split(r"[ ;<>=!~\[]", line, maxsplit=1)[0].lower()
        for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    locked = {match.group(0).split("==")[0] for match in _PINNED.finditer(_LOCK)}
    assert asked - locked == set()
