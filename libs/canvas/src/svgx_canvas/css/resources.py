"""Identify the bitmaps and fonts in the `data:` URLs of CSS."""

from svgx_canvas.images.data_url import has_data_scheme, read_data_url
from svgx_canvas.images.raster import Raster, identify

_FONT_SIGNATURES = (b"wOF2", b"wOFF", b"OTTO", b"\x00\x01\x00\x00", b"true", b"ttcf")
"""The first bytes of WOFF 2, WOFF, OpenType, TrueType (two forms) and of font collections."""


def may_have_bitmaps(text: str) -> bool:
    """Return False if a style sheet, `style` attribute or value has no bitmap. This takes less time than reading it."""
    return has_data_scheme(text) or "\\" in text


def is_bitmap(url: str) -> bool:
    """Return whether a URL is a `data:` URL with a PNG, JPEG, GIF or WebP."""
    return bitmap(url) is not None


def bitmap(url: str) -> Raster | None:
    """Return the format and size of the bitmap in a `data:` URL, or None for any other URL."""
    data = read_data_url(url)
    return identify(data.content) if data is not None else None


def is_font(url: str) -> bool:
    """Return whether a URL is a `data:` URL with a font. Browsers, too, ignore the media type of a font."""
    data = read_data_url(url)
    return data is not None and data.content.startswith(_FONT_SIGNATURES)
