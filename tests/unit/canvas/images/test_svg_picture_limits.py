"""Each SVG picture has the limits of a file, and counts for the limits of the file that contains it. Proves R-SVG-4."""

import gzip

import pytest

from svgx_canvas import Limits, SvgRefused, export_svg, import_svg, render_png
from tests.unit.canvas.client_documents import document
from tests.unit.canvas.images.pictures import (
    HEAD,
    PNG,
    SVG_SPELLINGS,
    b64,
    nested,
    svg,
    svg_url,
    with_picture,
)

_RECT = "<rect/>"
_USE = '<use href="#a"/>'
_ENTITY = f"<!DOCTYPE svg [<!ENTITY a '{'x' * 900}'>]>"


@pytest.mark.parametrize(
    ("field", "limits", "picture"),
    [
        ("elements", Limits(elements=50), svg(_RECT * 60)),
        ("elements", Limits(elements=50), nested(3, _RECT * 60)),
        ("depth", Limits(depth=20), svg("<g>" * 25 + "</g>" * 25)),
        ("attributes", Limits(attributes=5), svg('<rect x="1" y="1" width="1" height="1" rx="1" ry="1"/>')),
        ("attribute_length", Limits(attribute_length=1000), svg(f'<path d="{"M0 0" * 300}"/>')),
        ("text_length", Limits(text_length=50), svg(f"<text>{'x' * 60}</text>")),
        ("style_length", Limits(style_length=50), svg(f"<style>{' ' * 60}</style>")),
        ("style_matches", Limits(style_matches=50), svg("<style>a,b,c,d,e{}f{}</style>" + _RECT * 20)),
        ("expanded_elements", Limits(expanded_elements=50), svg(f'<g id="a">{_RECT * 20}</g>' + _USE * 3)),
        ("expanded_depth", Limits(expanded_depth=20), svg("<g>" * 20 + "</g>" * 20)),
        ("layers", Limits(layers=5), svg('<g opacity=".5">' * 6 + _RECT + "</g>" * 6)),
        ("image_pixels", Limits(image_pixels=3), svg(f'<image href="data:image/png;base64,{b64(PNG)}"/>')),
        ("bytes", Limits(bytes=3000), svg(" " * 4000)),
        ("entity_expansion", Limits(entity_expansion=5000), _ENTITY + svg("<title>&a;&a;&a;&a;&a;&a;</title>")),
    ],
)  # fmt: skip
def test_svg_picture_has_the_limits_of_a_file(field: str, limits: Limits, picture: str) -> None:
    """A file with an SVG picture beyond a limit is refused, and the error names the limit. Proves R-SVG-4."""
    file = with_picture(SVG_SPELLINGS["compressed"](picture.encode()))
    import_svg(with_picture("#a"), None, limits)
    with pytest.raises(SvgRefused) as refused:
        import_svg(file, None, limits)
    assert (refused.value.code, refused.value.field) == ("too_large", field)


@pytest.mark.parametrize(
    ("field", "limits", "picture"),
    [
        ("elements", Limits(elements=50), svg(_RECT * 6)),
        ("bytes", Limits(bytes=20_000), svg(" " * 3000)),
        ("style_length", Limits(style_length=50), svg(f"<style>{' ' * 8}</style>")),
        ("expanded_elements", Limits(expanded_elements=50), svg(_RECT * 6)),
        ("style_matches", Limits(style_matches=100), svg("<style>a,b{}</style>" + _RECT * 5)),
        ("image_pixels", Limits(image_pixels=30), svg(f'<image href="data:image/png;base64,{b64(PNG)}"/>')),
    ],
)  # fmt: skip
def test_svg_pictures_share_the_limits_of_their_file(
    field: str, limits: Limits, picture: str
) -> None:
    """Ten pictures exceed a limit together, although each picture is within it. Proves R-SVG-4."""
    url = SVG_SPELLINGS["compressed"](picture.encode())
    import_svg(with_picture(url), None, limits)
    images = f'<image href="{url}"/>' * 10
    with pytest.raises(SvgRefused) as refused:
        import_svg(f"{HEAD}{images}</svg>".encode(), None, limits)
    assert (refused.value.code, refused.value.field) == ("too_large", field)


def test_picture_that_becomes_too_long_is_refused_and_left_out_of_exports() -> None:
    """The limit for the length of an attribute applies to a picture's canonical URL. Proves R-SVG-4."""
    limits = Limits(attribute_length=2000)
    url = SVG_SPELLINGS["plain"](svg(_RECT * 250).encode())
    assert len(url) < 2000
    with pytest.raises(SvgRefused) as refused:
        import_svg(with_picture(url), None, limits)
    assert refused.value.field == "attribute_length"
    state = document({"a": {"tag": "image", "attrs": {"href": url}}})
    assert b"data:" not in export_svg(state, limits)


def test_svg_picture_counts_once_for_each_time_that_it_is_drawn() -> None:
    """The elements of an SVG picture count once for each time that it is drawn. Proves R-SVG-4."""
    picture = f'<image id="a" href="{svg_url(svg(_RECT * 50))}"/>'
    file = f"{HEAD}{picture}{9 * _USE}</svg>".encode()
    import_svg(file, None)
    with pytest.raises(SvgRefused) as refused:
        import_svg(file, None, Limits(expanded_elements=400))
    assert refused.value.field == "expanded_elements"


@pytest.mark.parametrize(
    ("name", "limits", "picture"),
    [
        ("elements", Limits(elements=50), svg(_RECT * 60)),
        ("depth", Limits(depth=20), svg("<g>" * 25 + "</g>" * 25)),
        ("style", Limits(style_length=50), svg(f"<style>{' ' * 60}</style>")),
        ("bytes", Limits(bytes=3000), svg(" " * 4000)),
    ],
)
def test_svg_picture_beyond_a_limit_does_not_stop_the_export(
    name: str, limits: Limits, picture: str
) -> None:
    """A client's SVG picture beyond a limit is left out of the export; the other content stays. Proves R-SVG-4."""
    url = SVG_SPELLINGS["compressed"](picture.encode())
    elements = {
        name: {"tag": "image", "attrs": {"href": url}},
        "rect": {"tag": "rect", "attrs": {"width": "7"}},
    }
    out = export_svg(document(elements), limits)
    assert b'<rect width="7"/>' in out
    assert b"data:" not in out


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("pattern_pixels", '<pattern id="p" width="9e4" height="9e4" patternUnits="userSpaceOnUse"/>'),
        ("pattern_pixels", '<pattern id="p" width="1" height="1" patternTransform="scale(9999)"/>'),
        (
            "filter_operations",
            '<filter id="f"><feMorphology radius="2000"/></filter><g filter="url(#f)"><rect width="9" height="9"/></g>',
        ),
    ],
)  # fmt: skip
def test_svg_picture_has_the_limits_of_rendering(field: str, body: str, levels: int) -> None:
    """An SVG picture at any level counts for the limits of rendering. Proves R-SVG-4."""
    file = with_picture(svg_url(nested(levels, body)))
    import_svg(file, None)
    with pytest.raises(SvgRefused) as refused:
        render_png(file)
    assert (refused.value.code, refused.value.field) == ("too_large", field)


def test_compressed_bombs_in_pictures_are_refused_early() -> None:
    """The SVG pictures of a file are decompressed to at most `Limits.bytes` bytes in total. Proves R-SVG-4."""
    bomb = f"data:image/svg+xml;base64,{b64(gzip.compress(b' ' * 20_000_000, mtime=0))}"
    image = f'<image href="{bomb}"/>'
    for count in (1, 100):
        with pytest.raises(SvgRefused) as refused:
            import_svg(f"{HEAD}{image * count}</svg>".encode(), None)
        assert refused.value.field == "bytes"
    elements: dict[str, object] = {
        f"i{index}": {"tag": "image", "attrs": {"href": bomb}} for index in range(100)
    }
    assert b"data:" not in export_svg(document(elements))
