"""The readers of single header values."""

import contextlib
import time

import pytest
from starlette.datastructures import Headers

from svgx_common.contract.errors import UnsupportedMedia
from svgx_gateway import header_values
from svgx_gateway.header_values import MAX_CONTENT_TYPE_CHARACTERS, MAX_COOKIE_CHARACTERS

HEADER_BYTES = 64 * 1024
SECONDS = 0.5
"""Time limit of the readers for headers of `HEADER_BYTES`, in seconds. Two headers of semicolons take 20 ms."""


def read_cookie(*headers: str) -> str | None:
    return header_values.cookie(
        Headers(raw=[(b"cookie", each.encode("latin-1")) for each in headers]), "svgx_browser"
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), None),
        (("other=1",), None),
        (("svgx_browser",), ""),
        (("svgx_browser=",), ""),
        (("svgx_browser=a-B_9",), "a-B_9"),
        (("a=1; svgx_browser=x=y ;b=2",), "x=y"),
        ((" svgx_browser = x",), "x"),
        (("xsvgx_browser=1; svgx_browserx=2",), None),
        (("svgx_browser=first; svgx_browser=last",), "last"),
        (("svgx_browser=first", "svgx_browser=last"), "last"),
        (('svgx_browser="x"',), '"x"'),
        (("=;;;svgx_browser=\xff",), "\xff"),
        (("svgx_browser=" + "x" * MAX_COOKIE_CHARACTERS,), None),
    ],
)
def test_cookie_is_read_as_it_was_sent(headers: tuple[str, ...], expected: str | None) -> None:
    """The last cookie of the name counts, without the spaces around it. A cookie that is too long counts as missing."""
    assert read_cookie(*headers) == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", None),
        ("image/svg+xml", None),
        ("image/svg+xml ", None),
        ("image/svg+xml;", None),
        ("image/svg+xml; charset=utf-8", "utf-8"),
        ("image/svg+xml ;\tCharset=UTF-16 ; ;", "utf-16"),
        ('image/svg+xml;charset="iso-8859-1"', "iso-8859-1"),
        ('image/svg+xml; x="; charset=a"; charset="\\u\\t\\f-8"', "utf-8"),
        ("image/svg+xml; charset=a; charset=b", "a"),
        ('image/svg+xml; charset=""', None),
        ("image/svg+xml; charset", None),
        ("image/svg+xml; charset=", None),
        ("image/svg+xml; charset = utf-8", "utf-8"),
        ('image/svg+xml; charset="utf-8', None),
        ('image/svg+xml; charset="utf-8\\', None),
        ("image/svg+xml; charset=é", None),
        ("image/svg+xml; charset*=utf-8''x", None),
        ("image/svg+xml; charset*=utf-8''x; charset*0=b", None),
        ("image/svg+xml; charset*0*=x", None),
    ],
)
def test_charset_is_the_parameter_of_the_content_type(
    content_type: str, expected: str | None
) -> None:
    """Malformed parameters are ignored. So are extended ones such as `charset*`, which RFC 9110 does not define."""
    assert header_values.charset(content_type) == expected


def test_long_content_type_gets_415() -> None:
    """Proves R-HTTP-17: a Content-Type that is too long is refused with its limit."""
    longest = "image/svg+xml; charset=".ljust(MAX_CONTENT_TYPE_CHARACTERS, "x")
    assert header_values.charset(longest) == longest.partition("=")[2]
    with pytest.raises(UnsupportedMedia) as refused:
        header_values.charset(longest + "x")
    assert (refused.value.field, refused.value.limit) == ("content-type", len(longest))


@pytest.mark.parametrize("unit", ['"', "\\", '\\"', ";", '";', ";a", ";a=", "=", " ", "; ", "*"])
@pytest.mark.parametrize("start", ["svgx_browser=", 'svgx_browser="', "image/svg+xml;", 'a/b;"'])
def test_time_for_a_large_header_is_short(start: str, unit: str) -> None:
    """Proves R-HTTP-17: no header of the largest size stops the event loop."""
    value = start + unit * (HEADER_BYTES // len(unit))
    began = time.thread_time()
    read_cookie(value, value + '"')
    for each in (value, value[:MAX_CONTENT_TYPE_CHARACTERS]):
        with contextlib.suppress(UnsupportedMedia):
            header_values.charset(each)
    assert time.thread_time() - began < SECONDS
