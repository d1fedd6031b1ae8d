"""Clean the pictures of a file or canvas.

The content of a `data:` URL determines the kind of the picture, because some renderers trust the media type and others
the content. A bitmap is kept as it is. An SVG picture is cleaned by the SVG policy, and counts towards the limits of
the file around it. Each kept picture is written in one form that all programs read: the media type of the content, and
base64.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from svgx_canvas.images.data_url import (
    forgiving_base64,
    is_data_url,
    read_data_url,
    write_data_url,
)
from svgx_canvas.images.raster import Raster, identify
from svgx_canvas.limits import Limits, SvgRefused, Usage, check_limit
from svgx_canvas.svg_writer import write_svg
from svgx_canvas.tree import Canvas

MAX_NESTING = 3
"""The most levels of SVG pictures inside each other. Deeper pictures are dropped. The file itself is level 0."""

_CANONICAL_BITMAP = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,")
_CANONICAL_BASE64 = re.compile("[A-Za-z0-9+/]+={0,2}")
_HEAD_CHARACTERS = 256 * 1024
"""Number of base64 characters that are decoded first. Only a JPEG with large metadata before its header needs more."""

_SVG_TYPES = frozenset(
    {"", "image/svg+xml", "image/svg", "text/plain", "text/xml", "application/xml"}
)
"""The media types of an SVG picture. Browsers draw "image/svg+xml" only; resvg also draws text that is SVG."""

_GZIP = b"\x1f\x8b"
_SVG = "image/svg+xml"


@dataclass(frozen=True, slots=True)
class SvgPicture:
    """The text of an SVG picture, before it is cleaned."""

    content: bytes
    """The file, possibly compressed with gzip (svgz)."""
    charset: str | None
    """The encoding that the media type states."""


def read_picture(url: str) -> tuple[Raster | SvgPicture, str] | None:
    """Return the picture in a `data:` URL and its canonical URL, or None if the URL has no picture.

    For an SVG picture, the second value is "", because its canonical URL is written only after cleaning.
    """
    canonical = _CANONICAL_BITMAP.match(url)
    if canonical is not None:
        raster = _identify_head(url, canonical.end())
        if raster is not None and canonical.group() == f"data:image/{raster.format};base64,":
            return raster, url
    data = read_data_url(url)
    if data is None:
        return None
    raster = identify(data.content)
    if raster is not None:
        return raster, write_data_url(f"image/{raster.format}", data.content)
    if data.media_type in _SVG_TYPES and data.content:
        return SvgPicture(data.content, data.charset), ""
    return None


def _identify_head(url: str, start: int) -> Raster | None:
    """Return the bitmap in the base64 text from `start` on, or None if the text is not in canonical form."""
    if (len(url) - start) % 4 or not _CANONICAL_BASE64.fullmatch(url, start):
        return None
    head = forgiving_base64(url[start : start + _HEAD_CHARACTERS].encode("ascii"))
    return identify(head) if head is not None else None


ReadSvg = Callable[[bytes, str | None, "Pictures"], Canvas]
"""A function that gets the bytes of an SVG picture, its stated encoding and the cleaner of the pictures inside it. The
function returns the cleaned picture, or raises `SvgRefused`."""


class Pictures:
    """The cleaner of the pictures of one file or canvas, or of one SVG picture in it.

    report: called with the name of each dropped picture and the reason. read: reads and cleans an SVG picture. strict:
    a picture beyond a limit raises `SvgRefused`; without `strict` the picture is dropped. usage: the amounts that the
    file and its pictures use.
    """

    def __init__(
        self, limits: Limits, report: Callable[[str, str], None], read: ReadSvg, *, strict: bool
    ) -> None:
        self.usage = Usage()
        self._limits = limits
        self._report = report
        self._read = read
        self._strict = strict
        self._level = 0

    @property
    def inside_picture(self) -> bool:
        """Return whether the pictures are those of an SVG picture, and not of the file or canvas itself."""
        return self._level > 0

    def clean(self, what: str, url: str) -> str | None:
        """Return the canonical URL of the picture in `url`, or report `what` as dropped and return None."""
        if not is_data_url(url):
            self._report(what, "reference")
            return None
        picture_and_url = read_picture(url)
        if picture_and_url is None:
            self._report(what, "picture")
            return None
        picture, canonical = picture_and_url
        if isinstance(picture, SvgPicture):
            cleaned = self._clean_svg(what, picture)
            if cleaned is None:
                return None
            canonical = cleaned
        limit = self._limits.attribute_length
        if self._strict:
            check_limit("attribute_length", limit, len(canonical), "characters of a picture's URL")
        elif len(canonical) > limit:
            self._report(what, "attribute_length")
            return None
        return canonical

    def read_svg(self, picture: SvgPicture) -> Canvas:
        """Return a cleaned SVG picture. Raises `SvgRefused`."""
        inner = Pictures(self._limits, self._report, self._read, strict=self._strict)
        inner.usage = self.usage
        inner._level = self._level + 1
        text = picture.content
        if text.startswith(_GZIP):
            text = _decompress(text, max(0, self._limits.bytes - self.usage.picture_bytes))
        inner.use_bytes(len(text))
        return self._read(text, picture.charset, inner)

    def use_bytes(self, count: int) -> None:
        """Count bytes of an SVG picture. Bytes of the file itself are not counted here. Raises `SvgRefused`."""
        if self._level:
            self.usage.picture_bytes += count
            check_limit(
                "bytes",
                self._limits.bytes,
                self.usage.picture_bytes,
                "bytes of the file's SVG pictures",
            )

    def _clean_svg(self, what: str, picture: SvgPicture) -> str | None:
        """Return the canonical URL of a cleaned SVG picture, or report `what` as dropped and return None."""
        if self._level == MAX_NESTING:
            self._report(what, "nesting")
            return None
        before = replace(self.usage)
        try:
            return write_data_url(_SVG, write_svg(self.read_svg(picture)))
        except SvgRefused as refused:
            # The bytes of a dropped picture still count, because reading them took time.
            self.usage.elements = before.elements
            self.usage.style_length = before.style_length
            if refused.code == "too_large":
                if self._strict:
                    raise
                self._report(what, refused.field)
            else:
                self._report(what, "picture")
            return None


def _decompress(content: bytes, limit: int) -> bytes:
    """Return the text of a compressed SVG picture, or its first `limit` + 1 bytes if there are more."""
    stream = zlib.decompressobj(wbits=31)
    try:
        text = stream.decompress(content, limit + 1)
    except zlib.error:
        raise SvgRefused("malformed", "svg", detail="the picture is not valid gzip") from None
    if not stream.eof and len(text) <= limit:
        raise SvgRefused("malformed", "svg", detail="the picture is not complete gzip")
    return text
