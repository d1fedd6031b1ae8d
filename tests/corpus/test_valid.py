"""Each file of the resvg test suite looks the same after import and export, pixel by pixel. Proves R-SVG-2."""

import base64
from pathlib import Path

import pytest
import resvg_py

from svgx_canvas import export_svg, import_svg
from tests.corpus.corpus import VALID, files, needs_corpus

EXCEPTIONS: dict[str, str] = {}
"""Files that look different after import and export, with the reason. All other files must look the same."""

_FILES = files(VALID)


def render(svg: str) -> bytes:
    """Return a PNG, rendered with resvg and the system's fonts as in production. Equal pictures give equal bytes."""
    return resvg_py.svg_to_bytes(svg_string=svg, dpi=96)


@needs_corpus
@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.relative_to(VALID).as_posix())
def test_valid_file_looks_the_same_after_import_and_export(path: Path) -> None:
    svg = path.read_bytes()
    exported = export_svg(import_svg(svg, None).update)
    same = render(svg.decode()) == render(exported.decode())
    assert same == (path.relative_to(VALID).as_posix() not in EXCEPTIONS)
    # A second import and export changes nothing.
    assert export_svg(import_svg(exported, None).update) == exported


@needs_corpus
@pytest.mark.parametrize("path", _FILES[::5], ids=lambda path: path.relative_to(VALID).as_posix())
def test_picture_of_a_valid_file_looks_the_same_after_import_and_export(path: Path) -> None:
    """Every fifth file is embedded as an SVG picture in another file."""
    picture = base64.b64encode(path.read_bytes()).decode()
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200">'
    svg = (
        f'{head}<image width="200" height="200" href="data:image/svg+xml;base64,{picture}"/></svg>'
    )
    exported = export_svg(import_svg(svg.encode(), None).update)
    assert render(svg) == render(exported.decode())
    assert export_svg(import_svg(exported, None).update) == exported


@needs_corpus
def test_at_most_two_percent_of_valid_files_are_exceptions() -> None:
    names = {path.relative_to(VALID).as_posix() for path in _FILES}
    assert set(EXCEPTIONS) <= names
    assert len(names) >= 400
    assert len(EXCEPTIONS) <= 0.02 * len(names)
