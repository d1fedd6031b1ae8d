"""Decode an XML file in the encoding of its byte order mark, else the stated charset, else the XML declaration.

This is the order of RFC 7303, section 3. XML never has a null character. So a file with null bytes at its start is
UTF-16 or UTF-32, and a file without them is neither. A charset or declaration that contradicts this rule is ignored. A
file that is stated or declared to be ASCII is read as UTF-8, if it has bytes above 7F and is valid UTF-8. In all other
cases, a file with bytes that do not match its encoding is refused.

The names of encodings are those of the Encoding standard (https://encoding.spec.whatwg.org).
"""

import codecs
import re
from functools import cache

import webencodings

from svgx_canvas.limits import SvgRefused

_DECLARATION = re.compile(
    rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._:-]{0,63})["']"""
)
_DECLARATION_BYTES = 4096
"""The XML declaration is searched for in this number of bytes at the start of the file."""

# UTF-32 comes first, because its little-endian mark begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)
_WIDE = re.compile(
    r"(utf|ucs)-?(16|32|2|4)([-_]?[bl]e)?|iso-10646(-ucs-[24])?|(cs)?unicode(fffe|feff)?"
)
"""Names of encodings with two or four bytes for each character of ASCII."""

_ASCII = frozenset({"ascii", "us-ascii", "iso646-us", "iso-ir-6", "ansi_x3.4-1968", "csascii"})
_EIGHT_BIT = re.compile(r"windows-\d+|iso-8859-.*|koi8-.|ibm866|macintosh|x-mac-cyrillic")
_UNSUPPORTED = frozenset({"replacement", "x-user-defined"})


def decode(data: bytes, charset: str | None = None) -> bytes:
    """Return the file's text in UTF-8, without a byte order mark and white space at the start.

    `charset` is the encoding that the sender states for the file. Raises `SvgRefused` "malformed" with one of these
    fields: "charset" if `charset` is unknown; "encoding" if the declared encoding is unknown, or the bytes do not match
    the encoding; "svg" if the file is compressed.
    """
    if data.startswith(b"\x1f\x8b"):
        raise SvgRefused(
            "malformed", "svg", detail="the file is compressed (gzip); send it uncompressed"
        )
    text = _decode_text(data, charset)
    # XML 1.0 (2.8) forbids white space before the XML declaration, but real files have it.
    return text.lstrip("\ufeff \t\r\n").encode("utf-8")


def _decode_text(data: bytes, charset: str | None) -> str:
    """Return the decoded text of a file, in the encoding that the module's docstring describes."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _decode_strict(data[len(mark) :], name, name)
    wide = _find_wide_encoding(data)
    if wide:
        return _decode_strict(data, wide, wide)
    if charset is not None and not _WIDE.fullmatch(charset.strip().lower()):
        return _decode_named(data, charset, "charset")
    declared = _DECLARATION.match(data[:_DECLARATION_BYTES])
    label = declared.group(1).decode("ascii") if declared else "utf-8"
    if _WIDE.fullmatch(label.lower()):
        return _decode_strict(data, "utf-8", f"UTF-8 (it declares {label})")
    return _decode_named(data, label, "encoding")


def _find_wide_encoding(data: bytes) -> str:
    """Return the encoding of a file with null bytes around its first character, or "" for a file without them."""
    head = tuple(byte != 0 for byte in data[:4])
    match head:
        case (True, False, False, False):
            return "utf-32-le"
        case (False, False, False, True):
            return "utf-32-be"
        case (True, False, *_):
            return "utf-16-le"
        case (False, True, *_):
            return "utf-16-be"
        case _:
            return ""


def _decode_named(data: bytes, label: str, field: str) -> str:
    """Return the text in the encoding with this name. Raises `SvgRefused` with `field` for an unknown name."""
    name = label.strip().lower()
    encoding = webencodings.lookup(name)
    if encoding is None or encoding.name in _UNSUPPORTED:
        raise SvgRefused(
            "malformed", field, detail=f"the encoding {label[:64]} ({field}) is not supported"
        )
    if name in _ASCII and not data.isascii():
        # The bytes disprove the name. UTF-8 is likely, because text of another encoding is hardly ever valid UTF-8.
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    try:
        if _EIGHT_BIT.fullmatch(encoding.name):
            return codecs.charmap_decode(data, "strict", _table(encoding.name))[0]
        return str(encoding.codec_info.decode(data, "strict")[0])
    except UnicodeDecodeError as error:
        raise _mismatch(error, label) from None


@cache
def _table(name: str) -> str:
    """Return the 256 characters of an encoding. U+FFFE stands for an undefined byte.

    The bytes 80 to 9F that Python leaves undefined are control characters, as in the Encoding standard.
    """
    encoding = webencodings.lookup(name)
    assert encoding is not None
    characters = []
    for byte in range(256):
        character, _ = encoding.codec_info.decode(bytes((byte,)), "replace")
        undefined = chr(byte) if 0x80 <= byte < 0xA0 else "\ufffe"
        characters.append(undefined if character == "\ufffd" else character)
    return "".join(characters)


def _decode_strict(data: bytes, codec: str, label: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise _mismatch(error, label) from None


def _mismatch(error: UnicodeDecodeError, label: str) -> SvgRefused:
    detail = f"the file is not {label[:80]}: byte {error.start} does not match"
    return SvgRefused("malformed", "encoding", detail=detail)
