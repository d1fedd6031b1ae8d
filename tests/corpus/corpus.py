"""Where the corpora are, beside the repository. Without them the tests that use them are skipped, visibly."""

from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
VALID = CORPUS / "svg-valid"
HOSTILE = CORPUS / "svg-hostile"

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}")


def files(folder: Path) -> list[Path]:
    """The SVG files below a folder, in a fixed order; none where there is no folder."""
    return sorted(folder.rglob("*.svg"))
