"""With every NATS configuration in this repository, NATS disconnects frozen clients soon."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.house_rules.sources import ROOT

_SUFFIXES = {".conf", ".json", ".py", ".tpl", ".yaml", ".yml"}
_SKIPPED = {"node_modules", ".git", ".venv", ".svgx", "__pycache__", "tests"}


def _configurations() -> Iterator[Path]:
    """Yield the configurations of NATS servers: the files that set `server_name`."""
    for folder in ("libs", "services", "deploy", "config"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in _SUFFIXES or _SKIPPED.intersection(path.relative_to(ROOT).parts):
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            if re.search(r"server_name\"?\s*[:=] ", text):
                yield path


def test_every_configuration_of_nats_has_short_pings() -> None:
    """With the defaults of NATS, a frozen replica gets requests for six minutes. Proves R-FAIL-21."""
    found = list(_configurations())
    assert found, "at least the development stack has a configuration"
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert "ping_interval" in text, path
        assert "ping_max" in text, path
