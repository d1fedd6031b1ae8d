"""The encoding of an SVG file: its byte order mark, else the stated charset, else its declaration. Proves R-SVG-10."""

import codecs
from collections.abc import Callable

import pytest
import resvg_py
from hypothesis import given
from hypothesis import strategies as st

from svgx_canvas import SvgRefused, export_svg, import_svg
from svgx_canvas.text_encoding import decode

XMLNS = 'xmlns="http://www.w3.org/2000/svg"'


def file(title: str, declared: str | None = None) -> str:
    head = "" if declared is None else f'<?xml version="1.0" encoding="{declared}"?>\n'
    return f"{head}<svg {XMLNS}><title>{title}</title></svg>"


def title(data: bytes, charset: str | None = None) -> str:
    """Return the title of an imported and exported file."""
    out = export_svg(import_svg(data, None, charset=charset).update).decode()
    return out.partition("<title>")[2].partition("</title>")[0]


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("utf-8", "utf-8", "é Ж 日本 😀"),
        ("UTF-8", "utf-8", "é"),
        ("utf8", "utf-8", "é"),
        ("iso-8859-1", "latin-1", "café ÿ"),
        ("ISO-8859-1", "latin-1", "é"),
        ("latin1", "latin-1", "é"),
        ("l1", "latin-1", "é"),
        ("iso-8859-1", "cp1252", "€ “x” – ™"),
        ("windows-1252", "cp1252", "€ café"),
        ("cp1252", "cp1252", "œ"),
        ("windows-1251", "cp1251", "План Ёё №"),
        ("Windows-1251", "cp1251", "План"),
        ("cp1251", "cp1251", "План"),
        ("windows-1250", "cp1250", "Žluťoučký"),
        ("windows-1253", "cp1253", "Σχέδιο"),
        ("windows-1254", "cp1254", "Çizim ğ"),
        ("windows-1255", "cp1255", "תוכנית"),
        ("windows-1256", "cp1256", "مخطط"),
        ("windows-1257", "cp1257", "Plāns"),
        ("windows-1258", "cp1258", "Đ"),
        ("windows-874", "cp874", "แผน"),
        ("iso-8859-2", "iso8859-2", "Łódź"),
        ("iso-8859-5", "iso8859-5", "План"),
        ("iso-8859-7", "iso8859-7", "Σχέδιο"),
        ("iso-8859-9", "cp1254", "ğ"),
        ("iso-8859-15", "iso8859-15", "€ œ"),
        ("iso-8859-16", "iso8859-16", "ș"),
        ("koi8-r", "koi8-r", "План"),
        ("koi8-u", "koi8-u", "Їжак"),
        ("ibm866", "cp866", "План"),
        ("cp866", "cp866", "План"),
        ("macintosh", "mac-roman", "café"),
        ("x-mac-cyrillic", "mac-cyrillic", "План"),
        ("shift_jis", "cp932", "設計図"),
        ("Shift_JIS", "cp932", "表"),
        ("euc-jp", "euc-jp", "設計図"),
        ("iso-2022-jp", "iso-2022-jp", "設計図"),
        ("gb2312", "gbk", "计划"),
        ("gbk", "gbk", "計劃"),
        ("gb18030", "gb18030", "计划 😀"),
        ("big5", "big5", "計劃"),
        ("euc-kr", "cp949", "계획"),
        ("us-ascii", "ascii", "plan"),
        ("us-ascii", "utf-8", "é ✓"),
        ("ascii", "cp1252", "caf\u00e9"),
    ],
)
def test_declared_encoding_is_read(label: str, codec: str, text: str) -> None:
    """A file is read in the encoding of its XML declaration or of the stated charset. Proves R-SVG-10.

    The names of encodings are those of the Encoding standard. A file in UTF-8 may also call its encoding ASCII.
    """
    assert title(file(text, label).encode(codec)) == text
    assert title(file(text).encode(codec), charset=label) == text
    assert title(file(text, "koi8-r").encode(codec), charset=label) == text


_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("charset", [None, "utf-8", "iso-8859-1", "windows-1251", "utf-16", "nonsense"])  # fmt: skip
@pytest.mark.parametrize(
    "declared", [None, "utf-8", "utf-16", "UTF-16LE", "utf-32", "iso-8859-1", "nonsense"]
)
@pytest.mark.parametrize("codec", _MARKS)
def test_byte_order_mark_determines_the_encoding(
    codec: str, declared: str | None, charset: str | None
) -> None:
    """A byte order mark takes precedence over the stated and the declared encoding. Proves R-SVG-10."""
    data = _MARKS[codec] + file("é Ж 😀", declared).encode(codec)
    assert title(data, charset) == "é Ж 😀"


@pytest.mark.parametrize("charset", [None, "utf-8", "iso-8859-1", "utf-16", "utf-16le", "utf-16be"])
@pytest.mark.parametrize("declared", [None, "utf-8", "utf-16", "UTF-16", "iso-8859-1"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf_16_and_utf_32_are_recognised_without_a_byte_order_mark(
    codec: str, declared: str | None, charset: str | None
) -> None:
    """UTF-16 and UTF-32 without a mark are recognised by their null bytes. Proves R-SVG-10."""
    for before in ("", "\n", " \t\n"):
        assert title((before + file("é Ж 😀", declared)).encode(codec), charset) == "é Ж 😀"


@pytest.mark.parametrize(
    "declared",
    [
        "utf-16", "UTF-16", "UTF-16LE", "utf-16be", "utf-16-le", "UTF16", "utf-32", "UTF-32BE", "ucs-2", "UCS-4",
        "ISO-10646-UCS-2", "ISO-10646-UCS-4", "iso-10646", "unicode", "Unicode", "csUnicode", "unicodeFFFE",
    ],
)  # fmt: skip
def test_declaration_that_the_bytes_disprove_is_ignored(declared: str) -> None:
    """A file in UTF-8 that declares UTF-16 or UTF-32 is read, because .NET writes such files. Proves R-SVG-10."""
    for text in ("plain", "café Ж 😀"):
        assert title(file(text, declared).encode()) == text
        assert title(file(text).encode(), charset=declared) == text
        assert title(file(text, "utf-8").encode(), charset=declared) == text
    assert title(file("План", "windows-1251").encode("cp1251"), charset=declared) == "План"


@pytest.mark.parametrize(
    ("declared", "codec", "charset", "expected"),
    [
        (None, "utf-8", "utf-8", "café"),
        ("iso-8859-1", "utf-8", "utf-8", "café"),
        ("iso-8859-1", "utf-8", "UTF-8", "café"),
        ("windows-1252", "utf-8", "utf8", "café"),
        ("iso-8859-1", "utf-8", None, "cafÃ©"),
        ("utf-8", "utf-8", "iso-8859-1", "cafÃ©"),
        ("utf-8", "latin-1", "iso-8859-1", "café"),
        ("utf-8", "latin-1", "windows-1252", "café"),
        (None, "latin-1", "latin1", "café"),
        ("utf-16", "latin-1", "latin1", "café"),
        ("nonsense", "utf-8", "utf-8", "café"),
        ("koi8-r", "utf-8", " Utf-8 ", "café"),
        ("windows-1251", "utf-8", "us-ascii", "café"),
    ],
)
def test_stated_charset_takes_precedence_over_the_declaration(
    declared: str | None, codec: str, charset: str | None, expected: str
) -> None:
    """The charset of the Content-Type is used, and not that of the declaration (RFC 7303). Proves R-SVG-10."""
    assert title(file("café", declared).encode(codec), charset) == expected


@pytest.mark.parametrize(
    ("field", "data", "charset"),
    [
        ("encoding", file("x", "nonsense").encode(), None),
        ("encoding", file("x", "cp037").encode(), None),
        ("encoding", file("x", "utf-7").encode(), None),
        ("encoding", file("x", "iso-2022-kr").encode(), None),
        ("encoding", file("x", "x-user-defined").encode(), None),
        ("encoding", file("x", "hex").encode(), None),
        ("encoding", file("x", "unicode_escape").encode(), None),
        ("encoding", file("é").encode("latin-1"), None),
        ("encoding", file("é", "utf-8").encode("latin-1"), None),
        ("encoding", file("é", "utf-16").encode("latin-1"), None),
        ("encoding", file("é", "iso-8859-1").encode("latin-1"), "utf-8"),
        ("encoding", file("x", "shift_jis").encode().replace(b"x", b"\x81"), None),
        ("encoding", file("x", "windows-1253").encode().replace(b"x", b"\xaa"), None),
        ("encoding", codecs.BOM_UTF8 + file("é").encode("latin-1"), None),
        ("encoding", codecs.BOM_UTF16_LE + b"<\x00\x00\xd8", None),
        ("encoding", codecs.BOM_UTF16_LE + b"<\x00s", None),
        ("encoding", file("x").encode("utf-16-le")[:-1], None),
        ("charset", file("x").encode(), "nonsense"),
        ("charset", file("x", "utf-8").encode(), "utf-7"),
        ("charset", file("x").encode(), "x" * 1000),
        ("charset", file("x").encode(), ""),
        ("charset", file("x").encode(), "rot13"),
    ],
)
def test_unknown_or_contradicting_encoding_is_refused(
    field: str, data: bytes, charset: str | None
) -> None:
    """The field is `charset` if the stated charset is unknown, and otherwise `encoding`. Proves R-SVG-1."""
    with pytest.raises(SvgRefused) as refused:
        import_svg(data, None, charset=charset)
    assert (refused.value.code, refused.value.field) == ("malformed", field)
    assert len(refused.value.detail) < 200


def test_compressed_file_is_refused_with_the_reason() -> None:
    """A compressed file (svgz) is refused, and the error says how to send it. Proves R-SVG-1."""
    with pytest.raises(SvgRefused, match="send it uncompressed"):
        import_svg(b"\x1f\x8b\x08\x00rest", None)


@pytest.mark.parametrize("byte", range(0x80, 0xA0))
def test_undefined_bytes_of_windows_encodings_are_control_characters(byte: int) -> None:
    """Bytes without a character in a Windows encoding are read as browsers read them. Proves R-SVG-10."""
    for label in ("windows-1252", "iso-8859-1", "windows-1251", "windows-1257"):
        text = decode(file("x", label).encode().replace(b">x<", b">%c<" % byte)).decode()
        codec = "cp1252" if label == "iso-8859-1" else label.replace("windows-", "cp")
        expected = bytes((byte,)).decode(codec, "replace").replace("\ufffd", chr(byte))
        assert f"<title>{expected}</title>" in text


@pytest.mark.parametrize(
    ("encode", "charset"),
    [
        (lambda text: text.encode("cp1251"), None),
        (lambda text: text.encode("cp1251"), "windows-1251"),
        (lambda text: text.encode("utf-16"), None),
        (lambda text: text.encode("utf-16-be"), None),
        (lambda text: codecs.BOM_UTF8 + text.encode(), "windows-1251"),
        (lambda text: text.encode(), "utf-8"),
    ],
)
def test_file_in_any_encoding_looks_the_same_after_import_and_export(
    encode: Callable[[str], bytes], charset: str | None
) -> None:
    """A file in any encoding looks the same after import and export, pixel by pixel. Proves R-SVG-2."""
    body = '<rect id="план" width="9" height="9" fill="red"/><use href="#план" x="10"/>'
    text = f'<?xml version="1.0" encoding="windows-1251"?><svg {XMLNS} width="20" height="20">{body}</svg>'
    out = export_svg(import_svg(encode(text), None, charset=charset).update).decode()
    assert 'href="#план"' in out
    plain = text.partition("?>")[2]
    assert resvg_py.svg_to_bytes(svg_string=out) == resvg_py.svg_to_bytes(svg_string=plain)


@given(st.binary(max_size=60), st.one_of(st.none(), st.text(max_size=20)))
def test_any_bytes_are_decoded_or_refused(data: bytes, charset: str | None) -> None:
    for head in (
        b"",
        b"<",
        b"\xff\xfe",
        b'<?xml encoding="shift_jis"?>',
        b'<?xml encoding="big5"?>',
    ):
        try:
            decode(head + data, charset).decode("utf-8")
        except SvgRefused as refused:
            assert refused.field in ("encoding", "charset", "svg")  # noqa: PT017 - decoding may succeed
