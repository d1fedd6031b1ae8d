"""The SVG corpora, in a folder beside the repository. Without this folder, the tests that need it are skipped."""

from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
VALID = CORPUS / "svg-valid"
HOSTILE = CORPUS / "svg-hostile"

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}")


def files(folder: Path) -> list[Path]:
    """Return the SVG files below a folder, sorted, or an empty list if the folder is missing."""
    return sorted(folder.rglob("*.svg"))
