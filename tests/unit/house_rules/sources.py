"""The files to which the house rules apply."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FOLDERS = ("libs", "services", "tests", "bench", "deploy")
_SKIPPED = {"node_modules", "__pycache__"}


def python_files(*folders: str) -> Iterator[Path]:
    """Yield all Python files below these folders of the repository, by default below `_FOLDERS`."""
    for folder in folders or _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not _SKIPPED.intersection(path.parts):
                yield path


def imported_names(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
