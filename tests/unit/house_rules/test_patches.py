"""Tests do not replace `asyncio.sleep`, because the tasks of other tests use it."""

import re

from tests.unit.house_rules.sources import ROOT, python_files

_PATCHED_SLEEP = re.compile(r"""(setattr\(|patch\()\s*(asyncio,\s*["']|["']asyncio\.)sleep\b""")


def test_no_test_replaces_the_sleep_of_all_tasks() -> None:
    """All tests share one event loop. A task that repeats a step would never yield if `asyncio.sleep` did not wait."""
    found = [
        str(path.relative_to(ROOT))
        for path in python_files("tests")
        if _PATCHED_SLEEP.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
