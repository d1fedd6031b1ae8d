"""The encoding of a request's body: its charset, and the codings that are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from svgx_common.contract import collab, state
from svgx_common.contract.errors import UnsupportedMedia
from svgx_gateway.http import problems
from svgx_gateway.http.messages import parse_request


def request(media_type: str, *codings: str) -> Request:
    headers = [(b"content-type", media_type.encode("latin-1"))]
    headers += [(b"content-encoding", coding.encode()) for coding in codings]
    path_params = {"canvas_id": "0" * 32}
    return Request(
        {"type": "http", "headers": headers, "query_string": b"", "path_params": path_params}
    )


def parse_import(sent: Request) -> collab.ImportSvgRequest:
    http = collab.IMPORT_SVG.http
    assert http is not None
    parsed = parse_request(collab.IMPORT_SVG, http, sent, b"<svg/>")
    assert isinstance(parsed, collab.ImportSvgRequest)
    return parsed


@pytest.mark.parametrize(
    ("media_type", "charset"),
    [
        ("image/svg+xml", None),
        ("image/svg+xml;", None),
        ("image/svg+xml; charset=utf-8", "utf-8"),
        ("image/svg+xml;charset=UTF-8", "utf-8"),
        ("image/svg+xml; Charset = utf-8", "utf-8"),
        ('image/svg+xml; charset="windows-1251"', "windows-1251"),
        ("image/svg+xml; q=1; charset=koi8-r; x=y", "koi8-r"),
        ("image/svg+xml; charset=utf-8; charset=koi8-r", "utf-8"),
        ("image/svg+xml; xcharset=utf-8", None),
        ("image/svg+xml; charset=", None),
        ('image/svg+xml; charset=""', None),
        ("image/svg+xml; charset", None),
        ("image/svg+xml; charset=\xe9", None),
        ("application/xml; charset=iso-8859-1", "iso-8859-1"),
        ("text/xml;charset=us-ascii", "us-ascii"),
    ],
)
def test_charset_of_the_content_type_reaches_the_import(
    media_type: str, charset: str | None
) -> None:
    """The charset of the Content-Type is part of the import's request. Proves R-SVG-10."""
    assert parse_import(request(media_type)).charset == charset


def test_byte_order_mark_before_json_is_ignored() -> None:
    """A JSON body may begin with a byte order mark."""
    create = state.CREATE_CANVAS
    assert create.http is not None
    body = b'\xef\xbb\xbf{"name": "caf\xc3\xa9"}'
    sent = request("application/json")
    sent.scope["path_params"] = {}
    parsed = parse_request(create, create.http, sent, body)
    assert getattr(parsed, "name") == "café"  # noqa: B009


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_parameters_of_the_content_type_are_read(parameters: str) -> None:
    """Any text of up to 40 characters after the media type is accepted."""
    parse_import(request(f"image/svg+xml;{parameters}"))


@pytest.mark.parametrize(
    "codings",
    [
        ("gzip",), ("GZIP",), ("x-gzip",), ("deflate",), ("br",), ("zstd",), ("compress",), ("nonsense",),
        ("gzip, identity",), ("identity, gzip",), ("identity", "gzip"), ("aws-chunked",),
    ],
)  # fmt: skip
def test_refusal_of_a_compressed_body_names_the_accepted_coding(codings: tuple[str, ...]) -> None:
    """A compressed SVG file or JSON body gets 415 and `Accept-Encoding: identity`. Proves R-HTTP-3."""
    for operation, media_type in (
        (collab.IMPORT_SVG, "image/svg+xml"),
        (state.CREATE_CANVAS, "application/json"),
    ):
        assert operation.http is not None
        with pytest.raises(UnsupportedMedia) as refused:
            parse_request(operation, operation.http, request(media_type, *codings), b"{}")
        assert (refused.value.field, refused.value.limit) == ("content-encoding", "identity")
        response = problems.response(refused.value)
        assert (response.status_code, response.headers["accept-encoding"]) == (415, "identity")


@pytest.mark.parametrize("codings", [("identity",), ("",), (" Identity ",), ("identity, ",)])
def test_body_that_is_not_compressed_is_accepted(codings: tuple[str, ...]) -> None:
    """A body with the coding `identity`, or with an empty header, is not compressed. Proves R-HTTP-3."""
    assert parse_import(request("image/svg+xml", *codings)).content == b"<svg/>"
