"""The resvg test suite: what is imported and exported again looks as it did, pixel by pixel. Proves R-SVG-2."""

from pathlib import Path

import pytest
import resvg_py

from svgx_canvas import export_svg, import_svg
from tests.corpus.corpus import VALID, files, needs_corpus

EXCEPTIONS = {
    "structure/image/embedded-svg-without-mime.svg": "a picture that is SVG in a data: URL: the policy refuses it",
    "structure/image/embedded-svgz.svg": "a picture that is compressed SVG in a data: URL: the policy refuses it",
    "structure/image/preserveAspectRatio=xMidYMid-meet-on-svg.svg": (
        "a picture that is SVG in a data: URL: the policy refuses it"
    ),
}
"""Files that look different, and why. Nothing else may, and each of these has to."""

_FILES = files(VALID)


def draw(svg: str) -> bytes:
    """A PNG with resvg, which writes the same pixels as the same bytes; with the system's fonts, as in production."""
    return resvg_py.svg_to_bytes(svg_string=svg, dpi=96)


@needs_corpus
@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.relative_to(VALID).as_posix())
def test_looks_the_same(path: Path) -> None:
    svg = path.read_bytes()
    exported = export_svg(import_svg(svg, None).update)
    same = draw(svg.decode()) == draw(exported.decode())
    assert same == (path.relative_to(VALID).as_posix() not in EXCEPTIONS)
    # What comes out goes in again and comes out the same.
    assert export_svg(import_svg(exported, None).update) == exported


@needs_corpus
def test_the_exceptions_are_few() -> None:
    names = {path.relative_to(VALID).as_posix() for path in _FILES}
    assert set(EXCEPTIONS) <= names
    assert len(names) >= 400
    assert len(EXCEPTIONS) <= 0.02 * len(names)
