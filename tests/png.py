"""The color of a picture in the format PNG."""

import struct
import zlib
from collections.abc import Iterator


def top_left_color(png: bytes) -> str:
    """Return the color of the top left pixel, such as `#1b998b`. The pixels must be RGB or RGBA with 8 bits each.

    No decoder is necessary, because no filter of PNG changes the first pixel of the first row (PNG specification, 9.2).
    """
    chunks = list(_chunks(png))
    depth, color_type, _, _, interlace = chunks[0][1][8:13]
    assert (depth, interlace) == (8, 0)
    assert color_type in (2, 6)
    rows = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    # The first byte of a row is the number of its filter.
    return f"#{rows[1:4].hex()}"


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each chunk."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    position = 8
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        yield kind, png[position + 8 : position + 8 + length]
        position += length + 12
