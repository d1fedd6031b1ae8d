"""The files that the house rules are about."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FOLDERS = ("libs", "services", "tests", "bench", "deploy")
_SKIPPED = {"node_modules", "__pycache__"}


def python_files(*folders: str) -> Iterator[Path]:
    """All Python files below these folders of the repository, by default of all of it."""
    for folder in folders or _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not _SKIPPED.intersection(path.parts):
                yield path


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
