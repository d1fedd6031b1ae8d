"""`data:` URLs are read according to the Fetch standard. Proves R-SVG-9."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svgx_canvas.images.data_url import forgiving_base64, read_data_url, write_data_url


@pytest.mark.parametrize(
    ("url", "media_type", "charset", "content"),
    [
        ("data:,x", "", None, b"x"),
        ("data:,", "", None, b""),
        ("DATA:image/png,x", "image/png", None, b"x"),
        (" \n\x01data:image/png,x \x1f", "image/png", None, b"x"),
        ("da\nta:ima\tge/p\rng,x\ny", "image/png", None, b"xy"),
        ("data: IMAGE/PNG ,x", "image/png", None, b"x"),
        ("data:image/png ; base64,eA==", "image/png", None, b"x"),
        ("data:image/png;base64,eA", "image/png", None, b"x"),
        ("data:image/png;base64, e A = = ", "image/png", None, b"x"),
        ("data:image/png;base64,%65%41%3d%3D", "image/png", None, b"x"),
        ("data:image/png;base64,%20e%0AA%3D%3D", "image/png", None, b"x"),
        ("data:image/png;BASE64,eA==", "image/png", None, b"x"),
        ("data:image/png;  base64,eA==", "image/png", None, b"x"),
        ("data:image/png;base64 ,eA==", "image/png", None, b"x"),
        ("data:;base64,eA==", "", None, b"x"),
        ("data:base64,eA==", "", None, b"eA=="),
        ("data:image/png;charset=utf-8;base64,eA==", "image/png", "utf-8", b"x"),
        ("data:image/png;a=b;charset=utf-8;c=d;base64,eA==", "image/png", "utf-8", b"x"),
        ('data:image/png; Charset="UTF-\\8" ;base64,eA==', "image/png", "UTF-8", b"x"),
        ("data:;charset=koi8-r,x", "", "koi8-r", b"x"),
        ("data:image/svg+xml;utf8,<svg/>", "image/svg+xml", None, b"<svg/>"),
        ("data:image/png;base64;charset=utf-8,eA==", "image/png", "utf-8", b"eA=="),
        ("data:image/png;xbase64,eA==", "image/png", None, b"eA=="),
        ("data:image/png;base64=,eA==", "image/png", None, b"eA=="),
        ("data:image/png;base64,eA==#fragment", "image/png", None, b"x"),
        ("data:image/svg+xml,<g fill='#f00'/>", "image/svg+xml", None, b"<g fill='"),
        ("data:image/svg+xml,<g fill='%23f00'/>", "image/svg+xml", None, b"<g fill='#f00'/>"),
        ("data:image/png,a?b,c", "image/png", None, b"a?b,c"),
        ("data:image/png,%zz%4%41%", "image/png", None, b"%zz%4A%"),
        ("data:image/png,%00%ff", "image/png", None, b"\x00\xff"),
        ("data:text/plain,é😀", "text/plain", None, "é😀".encode()),
        ("data:text/plain,a+b c", "text/plain", None, b"a+b c"),
        ("data:png,x", "", None, b"x"),
        ("data:image/,x", "", None, b"x"),
        ("data:/png,x", "", None, b"x"),
        ("data:image/p ng;charset=utf-8,x", "", None, b"x"),
        ("data://image/png,x", "", None, b"x"),
        ("data:img/png,x", "img/png", None, b"x"),
    ],
)
def test_data_url_is_read_as_browsers_read_it(
    url: str, media_type: str, charset: str | None, content: bytes
) -> None:
    """Media type, charset and content of a `data:` URL are those of the Fetch standard. Proves R-SVG-9.

    A missing or invalid media type is read as an empty text. The standard would replace it with `text/plain`.
    """
    found = read_data_url(url)
    assert found is not None
    assert (found.media_type, found.charset, found.content) == (media_type, charset, content)


@pytest.mark.parametrize(
    "url",
    [
        "", "data:", "data:image/png", "data:image/png;base64", "data", "datax:,x", "http://a/,x", "#data:,x",
        "%64ata:,x", "data%3A,x", "data:image/png#,x", "data:;base64,e", "data:;base64,eA=", "data:;base64,eA===",
        "data:;base64,=eA=", "data:;base64,e-_A", "data:;base64,eA==eA==", "data:;base64,é", "data:;base64,%zz",
    ],
)  # fmt: skip
def test_malformed_data_url_has_no_content(url: str) -> None:
    """A URL that the Fetch standard refuses has no content. Proves R-SVG-9."""
    assert read_data_url(url) is None


@given(st.binary(max_size=100))
def test_canonical_data_url_has_the_content_it_was_written_with(content: bytes) -> None:
    found = read_data_url(write_data_url("image/png", content))
    assert found is not None
    assert found.content == content


@given(st.text(max_size=50))
def test_any_text_is_read_without_an_error(text: str) -> None:
    read_data_url(f"data:{text}")
    forgiving_base64(text.encode())
