"""The checks of a request's head: host, version, target and transfer codings."""

import pytest

from svgx_common.contract.errors import BadRequest, SvgxError, UnsupportedCoding
from svgx_common.http.request_head import announces_body, check

HOST = (b"host", b"svgx.example")
CHUNKED = (b"transfer-encoding", b"chunked")


def refusal(
    *headers: tuple[bytes, bytes], version: str = "1.1", target: bytes = b"/"
) -> SvgxError | None:
    """Return the error of a head, or None for a valid head."""
    try:
        check(version, target, headers)
    except SvgxError as error:
        return error
    return None


@pytest.mark.parametrize(
    "value",
    [
        b"svgx.example",
        b"SVGX.example",
        b"svgx.example:8000",
        b"svgx.example:",
        b"svgx.example.",
        b"localhost",
        b"127.0.0.1:80",
        b"[::1]",
        b"[2001:db8::1]:8443",
        b"[::ffff:192.0.2.1]",
        b"xn--bcher-kva.example",
        b"under_score",
        b"b%C3%BCcher.example",
        b" \tsvgx.example ",
        b"a" * 255,
    ],
)
def test_valid_host_is_accepted(value: bytes) -> None:
    """Proves R-HTTP-14: a host is a name or an address, with a port or without (RFC 3986, 3.2.2)."""
    assert refusal((b"host", value)) is None


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b":80",
        b"a b",
        b"a\tb",
        b"a, b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"user@a",
        b"user:secret@a",
        b"http://a",
        b"a:b",
        b"a:-1",
        b"a:+80",
        b"a:80:80",
        b"a:65536",
        b"a:99999999999999999999",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[::1]a",
        b"[1.2.3.4]",
        b"[:::]",
        b"[fe80::1%25eth0]",
        b"[v1.a]",
        b"a%",
        b"a%2",
        b"a%zz",
        b"<a>",
        b'"a"',
        b"a|b",
        b"a\x00b",
        b"a\x7f",
        "bücher".encode(),
        b"a" * 300,
    ],
)
def test_invalid_host_is_refused_in_every_version(value: bytes, version: str) -> None:
    """Proves R-HTTP-14: the error names the header."""
    error = refusal((b"host", value), version=version)
    assert isinstance(error, BadRequest)
    assert error.field == "host"


@pytest.mark.parametrize(
    ("version", "headers", "accepted"),
    [
        ("1.1", [], False),
        ("1.1", [(b"x-forwarded-host", b"a")], False),
        ("1.1", [HOST, HOST], False),
        ("1.1", [HOST, (b"host", b"other")], False),
        ("1.1", [HOST, (b"host", b"")], False),
        ("1.1", [HOST], True),
        ("1.0", [], True),
        ("1.0", [HOST], True),
        ("1.0", [HOST, HOST], False),
        ("0.9", [], False),
        ("0.9", [HOST], False),
        ("2.0", [HOST], False),
        ("1.2", [HOST], False),
    ],
)
def test_only_http_1_0_may_leave_out_the_host(
    version: str, headers: list[tuple[bytes, bytes]], accepted: bool
) -> None:
    """Proves R-HTTP-14: HTTP/1.1 needs exactly one `Host` (RFC 9112, 3.2), and other versions are refused."""
    error = refusal(*headers, version=version)
    assert (error is None) is accepted
    assert error is None or error.status == 400


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([b"chunked"], None),
        ([b"Chunked"], None),
        ([b" chunked "], None),
        ([b", chunked"], None),
        ([b"gzip, chunked"], UnsupportedCoding),
        ([b"gzip,chunked"], UnsupportedCoding),
        ([b"deflate, chunked"], UnsupportedCoding),
        ([b"compress, chunked"], UnsupportedCoding),
        ([b"x-gzip, CHUNKED"], UnsupportedCoding),
        ([b"identity, chunked"], UnsupportedCoding),
        ([b"br, gzip, chunked"], UnsupportedCoding),
        ([b"invented;q=1, chunked"], UnsupportedCoding),
        ([b"gzip", b"chunked"], UnsupportedCoding),
        ([b""], BadRequest),
        ([b","], BadRequest),
        ([b"gzip"], BadRequest),
        ([b"identity"], BadRequest),
        ([b"xchunked"], BadRequest),
        ([b"chunkedx"], BadRequest),
        ([b'"chunked"'], BadRequest),
        ([b"chunked;q=1"], BadRequest),
        ([b"chunked\x0b"], BadRequest),
        ([b"chunked chunked"], BadRequest),
        ([b"chunked, chunked"], BadRequest),
        ([b"chunked", b"chunked"], BadRequest),
        ([b"chunked, gzip"], BadRequest),
        ([b"chunked", b"gzip"], BadRequest),
        ([b"chunked, identity"], BadRequest),
        ([b"chunked, gzip, chunked"], BadRequest),
    ],
)
def test_transfer_coding_is_chunked_and_nothing_else(
    values: list[bytes], kind: type[SvgxError] | None
) -> None:
    """Proves R-HTTP-14: 501 for another coding before `chunked`, 400 where the end of the body is not known."""
    error = refusal(HOST, *((b"transfer-encoding", value) for value in values))
    assert type(error) is (type(None) if kind is None else kind)
    assert error is None or error.field == "transfer-encoding"


@pytest.mark.parametrize("value", [b"chunked", b"gzip, chunked", b"identity"])
def test_http_1_0_has_no_transfer_coding(value: bytes) -> None:
    """Proves R-HTTP-14: a proxy before the server may see another end of such a body (RFC 9112, 6.1)."""
    assert isinstance(refusal((b"transfer-encoding", value), version="1.0"), BadRequest)


@pytest.mark.parametrize(
    ("target", "accepted"),
    [
        (b"/", True),
        (b"//a/b", True),
        (b"/a?b=c", True),
        (b"*", True),
        (b"http://a/b", True),
        (b"HTTPS://a:1/b?c", True),
        (b"http://[::1]/", True),
        (b"http://", False),
        (b"http:///a", False),
        (b"http://user@a/", False),
        (b"http://user:secret@a/", False),
        (b"http://a b/", False),
        (b"http://a:b/", False),
        (b"http:/a", False),
        (b"ftp://a/", False),
        (b"a", False),
        (b"a:80", False),
        (b"?a", False),
        (b"", False),
        (b"/a#b", False),
        (b"http://a/#b", False),
    ],
)
def test_target_is_a_path_or_a_url_with_a_valid_host(target: bytes, accepted: bool) -> None:
    """Proves R-HTTP-14: the host of a URL follows the same rule as `Host`."""
    error = refusal(HOST, target=target)
    assert (error is None) is accepted


@pytest.mark.parametrize(
    ("headers", "announced"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b"000")], False),
        ([(b"content-length", b"1")], True),
        ([(b"content-length", b"10")], True),
        ([CHUNKED], True),
    ],
)
def test_body_is_announced_by_its_length_or_by_chunks(
    headers: list[tuple[bytes, bytes]], announced: bool
) -> None:
    """Proves R-HTTP-11: the server refuses a WebSocket handshake that announces a body."""
    assert announces_body(headers) is announced
