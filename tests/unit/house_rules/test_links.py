"""Links between the documents of the repository lead to existing files."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.house_rules.sources import ROOT

_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_FOLDERS = ("docs", "libs", "services", "tests", "bench", "deploy")


def documents() -> Iterator[Path]:
    """Yield all Markdown files of the repository."""
    yield from ROOT.glob("*.md")
    for folder in _FOLDERS:
        for path in (ROOT / folder).rglob("*.md"):
            if "node_modules" not in path.parts:
                yield path


def test_links_to_files_resolve() -> None:
    """Each relative link in a Markdown file names an existing file or folder."""
    links = [
        (path, target)
        for path in documents()
        for target in _LINK.findall(path.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert links
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, target in links
        if not (path.parent / target).exists()
    ]
    assert broken == []
