"""The kind and size of an embedded picture, from its first bytes: nothing is decompressed.

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
"""Characters of base64 that are decoded at first: more than a header needs, save for a JPEG with much before it."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Picture:
    """kind: "png", "jpeg", "gif" or "webp". width, height: pixels, both positive."""

    kind: str
    width: int
    height: int


def parse_data_url(url: str) -> tuple[Picture, str] | None:
    """The picture in a data: URL, and the URL with its media type, which it may lack; None for everything else.

    A media type that says another kind than the content has is no picture either: renderers go by the one or the other.
    """
    match = _DATA_URL.match(url)
    if match is None:
        return None
    picture = _head(url[match.end() : match.end() + _HEAD])
    if picture is None and len(url) > match.end() + _HEAD:
        picture = _head(url[match.end() :])
    if picture is None or picture.width < 1 or picture.height < 1:
        return None
    declared = match.group(1)
    if declared is None:
        return picture, f"data:image/{picture.kind};base64,{url[match.end() :]}"
    if declared.lower().replace("jpg", "jpeg") != picture.kind:
        return None
    return picture, url


def _head(text: str) -> Picture | None:
    compact = re.sub(r"[\s=]+", "", text)
    try:
        data = base64.b64decode(compact[: len(compact) // 4 * 4], validate=True)
    except (ValueError, binascii.Error):
        return None
    return _identify(data)


def _identify(data: bytes) -> Picture | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return Picture("png", _big(data[16:20]), _big(data[20:24]))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Picture("gif", _little(data[6:8]), _little(data[8:10]))
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> Picture | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker in _JPEG_FRAMES:
            return Picture(
                "jpeg", _big(data[place + 7 : place + 9]), _big(data[place + 5 : place + 7])
            )
        else:
            place += 2 + _big(data[place + 2 : place + 4])
    return None


def _webp(data: bytes) -> Picture | None:
    chunk, head = data[12:16], data[20:30]
    if chunk == b"VP8X":
        return Picture("webp", _little(head[4:7]) + 1, _little(head[7:10]) + 1)
    if chunk == b"VP8 ":
        return Picture("webp", _little(head[6:8]) & 0x3FFF, _little(head[8:10]) & 0x3FFF)
    if chunk == b"VP8L":
        bits = _little(head[1:5])
        return Picture("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
