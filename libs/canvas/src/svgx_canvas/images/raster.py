"""Read the format and the size of a bitmap from its first bytes, without decompression.

Formats: PNG (ISO/IEC 15948, IHDR), GIF89a (logical screen), JPEG (ITU T.81, frame header), WebP (RFC 9649). The content
determines the format, as in https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern.
"""

from dataclasses import dataclass

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of a frame header. The three other markers in this range are not frame headers (ITU T.81, table B.1)."""


@dataclass(frozen=True, slots=True)
class Raster:
    """The format and the size of a bitmap."""

    format: str
    """The name in the media type: "png", "jpeg", "gif" or "webp"."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


def identify(data: bytes) -> Raster | None:
    """Return the format and the size of a bitmap, or None if the bytes are of no supported format or have no size.

    `data` may end after the header of the bitmap.
    """
    raster = _identify(data)
    return raster if raster is not None and raster.width > 0 and raster.height > 0 else None


def _identify(data: bytes) -> Raster | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return Raster("png", _big_endian(data[16:20]), _big_endian(data[20:24]))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Raster("gif", _little_endian(data[6:8]), _little_endian(data[8:10]))
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> Raster | None:
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
        elif marker in _JPEG_FRAMES:
            return Raster(
                "jpeg",
                _big_endian(data[offset + 7 : offset + 9]),
                _big_endian(data[offset + 5 : offset + 7]),
            )
        else:
            offset += 2 + _big_endian(data[offset + 2 : offset + 4])
    return None


def _webp(data: bytes) -> Raster | None:
    chunk, head = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return Raster("webp", _little_endian(head[4:7]) + 1, _little_endian(head[7:10]) + 1)
    if chunk == b"VP8 ":
        return Raster(
            "webp", _little_endian(head[6:8]) & 0x3FFF, _little_endian(head[8:10]) & 0x3FFF
        )
    if chunk == b"VP8L":
        bits = _little_endian(head[1:5])
        return Raster("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None


def _big_endian(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little_endian(data: bytes) -> int:
    return int.from_bytes(data, "little")
