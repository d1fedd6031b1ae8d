"""Read the format and the size of an embedded image from its first bytes, without decompression.

Formats: PNG (ISO/IEC 15948, IHDR), GIF89a (logical screen), JPEG (ITU T.81, frame header), WebP (RFC 9649).
"""

import base64
import binascii
import re
from dataclasses import dataclass

_DATA_URL = re.compile(
    r"\s*data:(?:image/(png|jpe?g|gif|webp))?\s*;\s*base64\s*,", re.IGNORECASE | re.ASCII
)
_HEAD = 256 * 1024
"""Characters of base64 that are decoded first. Only a JPEG with large metadata before its frame header needs more."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of a frame header. The three others of this range have another meaning (ITU T.81, table B.1)."""


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """The format and the size of an image."""

    format: str
    """The name in the media type: "png", "jpeg", "gif" or "webp"."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


def parse_data_url(url: str) -> tuple[EmbeddedImage, str] | None:
    """Return the image in a data: URL, and the URL with the image's media type added if it has none.

    Return None if the URL has no image of a supported format with a positive size. Return None too if the media type
    contradicts the content, because some renderers trust the media type and others the content.
    """
    match = _DATA_URL.match(url)
    if match is None:
        return None
    image = _decode(url[match.end() : match.end() + _HEAD])
    if image is None and len(url) > match.end() + _HEAD:
        image = _decode(url[match.end() :])
    if image is None or image.width < 1 or image.height < 1:
        return None
    declared = match.group(1)
    if declared is None:
        return image, f"data:image/{image.format};base64,{url[match.end() :]}"
    if declared.lower().replace("jpg", "jpeg") != image.format:
        return None
    return image, url


def _decode(text: str) -> EmbeddedImage | None:
    """Return the image of base64 text, which may be cut off at any character."""
    compact = re.sub(r"[\s=]+", "", text)
    try:
        data = base64.b64decode(compact[: len(compact) // 4 * 4], validate=True)
    except (ValueError, binascii.Error):
        return None
    return _identify(data)


def _identify(data: bytes) -> EmbeddedImage | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return EmbeddedImage("png", _big_endian(data[16:20]), _big_endian(data[20:24]))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return EmbeddedImage("gif", _little_endian(data[6:8]), _little_endian(data[8:10]))
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> EmbeddedImage | None:
    offset = 2
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
        elif marker in _JPEG_FRAMES:
            return EmbeddedImage(
                "jpeg",
                _big_endian(data[offset + 7 : offset + 9]),
                _big_endian(data[offset + 5 : offset + 7]),
            )
        else:
            offset += 2 + _big_endian(data[offset + 2 : offset + 4])
    return None


def _webp(data: bytes) -> EmbeddedImage | None:
    chunk, head = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return EmbeddedImage("webp", _little_endian(head[4:7]) + 1, _little_endian(head[7:10]) + 1)
    if chunk == b"VP8 ":
        return EmbeddedImage(
            "webp", _little_endian(head[6:8]) & 0x3FFF, _little_endian(head[8:10]) & 0x3FFF
        )
    if chunk == b"VP8L":
        bits = _little_endian(head[1:5])
        return EmbeddedImage("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None


def _big_endian(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little_endian(data: bytes) -> int:
    return int.from_bytes(data, "little")
