"""Bitmaps in `data:` URLs are kept however the URL is spelled. Proves R-SVG-3 and R-SVG-9."""

import gzip
from collections.abc import Callable
from urllib.parse import quote

import pytest

from svgx_canvas import Dropped, export_svg
from tests.unit.canvas.audit import problems
from tests.unit.canvas.client_documents import document
from tests.unit.canvas.images.pictures import (
    GIF,
    GZIP_MAGIC,
    HEAD,
    JPEG,
    PNG,
    WEBP,
    b64,
    drawn,
    href,
    import_and_export,
    svg,
    svg_url,
    with_picture,
)

_SPELLINGS: dict[str, Callable[[str, bytes], str]] = {
    "canonical": lambda kind, data: f"data:image/{kind};base64,{b64(data)}",
    "charset before base64": lambda kind, data: (
        f"data:image/{kind};charset=utf-8;base64,{b64(data)}"
    ),
    "parameters": lambda kind, data: f'data:image/{kind};name=a.png;x="y";base64,{b64(data)}',
    "percent-encoded base64": lambda kind, data: (
        f"data:image/{kind};base64,{quote(b64(data), safe='')}"
    ),
    "not base64": lambda kind, data: f"data:image/{kind},{quote(data, safe='')}",
    "not base64, with charset": lambda kind, data: (
        f"data:image/{kind};charset=binary,{quote(data, safe='')}"
    ),
    "fragment": lambda kind, data: f"data:image/{kind};base64,{b64(data)}#x",
    "empty fragment": lambda kind, data: f"data:image/{kind};base64,{b64(data)}#",
    "no padding": lambda kind, data: f"data:image/{kind};base64,{b64(data).rstrip('=')}",
    "line ends": lambda kind, data: (
        f"data:image/{kind};base64,\n{b64(data)[:9]}\n\t {b64(data)[9:]}\n"
    ),
    "upper case": lambda kind, data: f"DATA:IMAGE/{kind.upper()};BASE64,{b64(data)}",
    "spaces": lambda kind, data: f" data: image/{kind} ; base64, {b64(data)} ",
    "no media type": lambda _, data: f"data:;base64,{b64(data)}",
    "charset only": lambda _, data: f"data:;charset=utf-8;base64,{b64(data)}",
    "other type": lambda kind, data: f"data:img/{kind};base64,{b64(data)}",
    "unknown type": lambda _, data: f"data:application/octet-stream;base64,{b64(data)}",
    "jpg": lambda _, data: f"data:image/jpg;base64,{b64(data)}",
    "x-png": lambda _, data: f"data:image/x-png;base64,{b64(data)}",
    "label of png": lambda _, data: f"data:image/png;base64,{b64(data)}",
    "label of jpeg": lambda _, data: f"data:image/jpeg;base64,{b64(data)}",
    "label of gif": lambda _, data: f"data:image/gif;base64,{b64(data)}",
    "label of webp": lambda _, data: f"data:image/webp;base64,{b64(data)}",
    "label of svg": lambda _, data: f"data:image/svg+xml;base64,{b64(data)}",
    "label of html": lambda _, data: f"data:text/html;base64,{b64(data)}",
}


@pytest.mark.parametrize("tag", ["image", "feImage"])
@pytest.mark.parametrize(
    ("kind", "data"), [("png", PNG), ("jpeg", JPEG), ("gif", GIF), ("webp", WEBP)]
)
@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_bitmap_is_kept_in_canonical_form(spelling: str, kind: str, data: bytes, tag: str) -> None:
    """A bitmap is kept however its URL is spelled and labelled, and is written in one form. Proves R-SVG-9."""
    out, dropped = import_and_export(with_picture(_SPELLINGS[spelling](kind, data), tag))
    assert dropped == []
    assert href(out) == f"data:image/{kind};base64,{b64(data)}"


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_bitmap_of_a_client_is_exported_in_canonical_form(spelling: str) -> None:
    """An export writes a client's picture in the same form as an import does. Proves R-SVG-9."""
    attrs = {"xlink:href": _SPELLINGS[spelling]("png", PNG)}
    out = export_svg(document({"a": {"tag": "image", "attrs": attrs}}))
    assert problems(out) == []
    assert href(out, "{http://www.w3.org/1999/xlink}href") == f"data:image/png;base64,{b64(PNG)}"


def test_bitmap_with_a_wrong_label_is_drawn_after_import() -> None:
    """resvg reads a picture by its label, and browsers read it by its content.

    The canonical form suits both. Proves R-SVG-9.
    """
    right = with_picture(f"data:image/png;base64,{b64(PNG)}")
    wrong = with_picture(f"data:image/jpeg;charset=utf-8;base64,{b64(PNG)}")
    assert drawn(import_and_export(wrong)[0]) == drawn(right)
    assert drawn(right) != drawn(HEAD.encode() + b"</svg>")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/a.png", "reference"),
        ("//example.org/a.png", "reference"),
        ("a.png", "reference"),
        ("javascript:alert(1)", "reference"),
        ("", "reference"),
        ("data:", "picture"),
        ("data:image/png", "picture"),
        ("data:image/png;base64", "picture"),
        ("data:image/png;base64,", "picture"),
        ("data:image/png;base64,!!!!", "picture"),
        (f"data:image/png;base64;charset=utf-8,{b64(PNG)}", "picture"),
        (f"data:image/png;base64,{b64(PNG[:20])}", "picture"),
        (f"data:image/png;base64,{b64(PNG.replace(PNG[16:24], bytes(8)))}", "picture"),
        (f"data:image/png;base64,{b64(b'BM' + bytes(60))}", "picture"),
        ("data:text/html,<svg xmlns='http://www.w3.org/2000/svg'/>", "picture"),
        ("data:image/png,<svg xmlns='http://www.w3.org/2000/svg'/>", "picture"),
        ("data:application/javascript,alert(1)", "picture"),
        ("data:image/svg+xml,", "picture"),
        ("data:image/svg+xml,<html/>", "picture"),
        ("data:image/svg+xml,<svg", "picture"),
        ("data:image/svg+xml,<svg/>", "picture"),
        ("data:image/svg+xml,<svg xmlns=''><rect width='9' height='9'/></svg>", "picture"),
        ("data:image/svg+xml,<svg xmlns='urn:x'><rect width='9' height='9'/></svg>", "picture"),
        ("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' fill='#f00'/>", "picture"),
        ("data:image/svg+xml,<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///x'>]><svg>%26a;</svg>", "picture"),
        ("data:image/svg+xml;charset=nonsense,<svg/>", "picture"),
        (f"data:image/svg+xml;base64,{b64(GZIP_MAGIC + bytes(9))}", "picture"),
        (f"data:image/svg+xml;base64,{b64(gzip.compress(b'<svg/>', mtime=0)[:-9])}", "picture"),
    ],
)  # fmt: skip
def test_reference_without_a_picture_is_dropped_and_reported(url: str, reason: str) -> None:
    """A URL of another kind, and a `data:` URL without a readable picture, are dropped and reported. Proves R-SVG-9."""
    out, dropped = import_and_export(with_picture(url))
    assert href(out) is None
    assert dropped == [Dropped("image@href", reason, 1)]
    exported = export_svg(document({"a": {"tag": "image", "attrs": {"href": url}}}))
    assert href(exported) is None


@pytest.mark.parametrize("tag", ["use", "a", "linearGradient", "pattern", "textPath", "mpath"])
def test_picture_is_kept_in_images_only(tag: str) -> None:
    """Only image elements refer to pictures; a link or `use` never gets a `data:` URL. Proves R-SVG-3."""
    for url in (f"data:image/png;base64,{b64(PNG)}", svg_url(svg())):
        assert href(import_and_export(with_picture(url, tag))[0]) is None
