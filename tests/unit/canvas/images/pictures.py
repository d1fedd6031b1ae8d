"""Pictures and SVG files with pictures in `data:` URLs, and the import, export and drawing of such files."""

import base64
import gzip
import struct
import zlib
from collections.abc import Callable
from urllib.parse import quote

import resvg_py
from lxml import etree

from svgx_canvas import Dropped, Limits, export_svg, import_svg
from svgx_canvas.limits import DEFAULT_LIMITS
from tests.unit.canvas.audit import problems

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' width="20" height="20">'
)


def _png() -> bytes:
    """Return a PNG of 2 x 2 red pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00\xff\x00\x00\xff\x00\x00" * 2)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


PNG = _png()
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
XMLNS = 'xmlns="http://www.w3.org/2000/svg"'
GIF = base64.b64decode("R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")
# A frame header for 3 x 2 pixels, without the pixels. Format and size can be read from the header alone.
JPEG = (
    b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x02\x00\x03\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"
)
WEBP = (
    b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe"
)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def with_picture(url: str, tag: str = "image", name: str = "href") -> bytes:
    escaped = url.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    escaped = escaped.replace("\n", "&#10;").replace("\t", "&#9;")
    return f'{HEAD}<{tag} width="20" height="20" {name}="{escaped}"/></svg>'.encode()


def import_and_export(file: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes, list[Dropped]]:
    """Import a file. Return its export, which has passed the audit, and the report of dropped content."""
    result = import_svg(file, None, limits)
    out = export_svg(result.update, limits)
    assert problems(out) == []
    assert export_svg(import_svg(out, None, limits).update, limits) == out
    return out, result.dropped


def href(file: bytes, name: str = "href") -> str | None:
    value = etree.fromstring(file)[0].get(name)
    return None if value is None else str(value)


def drawn(file: bytes) -> bytes:
    return resvg_py.svg_to_bytes(svg_string=file.decode(), dpi=96)


def svg(body: str = '<rect width="10" height="10" fill="red"/>') -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">{body}</svg>'


def svg_url(text: str) -> str:
    return f"data:image/svg+xml;base64,{b64(text.encode())}"


def nested(levels: int, innermost: str = '<rect width="5" height="5"/>') -> str:
    """Return an SVG picture that contains an SVG picture, and so on: `levels` pictures in total."""
    text = svg(innermost)
    for _ in range(levels - 1):
        text = svg(f'<image href="{svg_url(text)}"/>')
    return text


def first_picture(file: bytes) -> bytes:
    """Return the SVG picture of the first image in a file."""
    for node in etree.fromstring(file).iter("{*}image"):
        value = node.get("href")
        if value is not None:
            return base64.b64decode(str(value).removeprefix("data:image/svg+xml;base64,"))
    raise AssertionError("no picture")


SVG_SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "canonical": lambda data: f"data:image/svg+xml;base64,{b64(data)}",
    "charset": lambda data: f"data:image/svg+xml;charset=utf-8;base64,{b64(data)}",
    "percent-encoded": lambda data: f"data:image/svg+xml,{quote(data)}",
    "percent-encoded, charset": lambda data: f"data:image/svg+xml;charset=UTF-8,{quote(data)}",
    "utf8 without `charset=`": lambda data: f"data:image/svg+xml;utf8,{quote(data)}",
    "plain": lambda data: f"data:image/svg+xml,{data.decode()}",
    "plain with fragment": lambda data: f"data:image/svg+xml,{data.decode()}#top",
    "compressed": lambda data: f"data:image/svg+xml;base64,{b64(gzip.compress(data, mtime=0))}",
    "no media type": lambda data: f"data:;base64,{b64(data)}",
    "byte order mark": lambda data: f"data:image/svg+xml;base64,{b64(BYTE_ORDER_MARK + data)}",
    "UTF-16": lambda data: f"data:image/svg+xml;base64,{b64(data.decode().encode('utf-16'))}",
    "media type text/plain": lambda data: f"data:text/plain;base64,{b64(data)}",
}
