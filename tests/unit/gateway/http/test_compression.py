"""Compression of large responses in a thread."""

import asyncio
import gzip
import threading

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from svgx_gateway.http.compression import LARGE_BYTES, compress_large

SVG = b'<rect width="1"/>' * (4 * LARGE_BYTES)


async def compressed(media_type: str, accept: str, body: bytes = SVG) -> Response:
    response = Response(body, media_type=media_type)
    await compress_large(response, Headers({"accept-encoding": accept}))
    return response


@pytest.mark.parametrize(
    ("media_type", "accept", "expected"),
    [
        ("image/svg+xml", "gzip", True),
        ("application/json", "br, gzip;q=0.5", True),
        ("image/svg+xml", "*", True),
        ("image/svg+xml", "gzip;q=0", False),
        ("image/svg+xml", "gzip; q=0.000, *", False),
        ("image/svg+xml", "", False),
        ("image/png", "gzip", False),
        ("application/octet-stream", "gzip", False),
    ],
)
async def test_compression_depends_on_media_type_and_accept_encoding(
    media_type: str, accept: str, expected: bool
) -> None:
    """Text formats are compressed if the client accepts gzip. Proves R-HTTP-8."""
    response = await compressed(media_type, accept)
    assert ("content-encoding" in response.headers) == expected
    assert response.headers["content-length"] == str(len(response.body))
    body = bytes(response.body)
    assert (gzip.decompress(body) if expected else body) == SVG


async def test_list_of_codings_in_two_headers_is_one_list() -> None:
    """A client may list gzip in a second `Accept-Encoding` header (RFC 9110, 5.3). Proves R-HTTP-8."""
    response = Response(SVG, media_type="image/svg+xml")
    fields = [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]
    await compress_large(response, Headers(raw=fields))
    assert response.headers["content-encoding"] == "gzip"


async def test_compression_does_not_block_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work continues while a large response is compressed. Proves R-HTTP-8."""
    compress, may_compress = gzip.compress, threading.Event()

    def compress_later(body: bytes, level: int) -> bytes:
        assert may_compress.wait(30), "the event loop is blocked"
        return compress(body, level)

    monkeypatch.setattr(gzip, "compress", compress_later)
    compressing = asyncio.create_task(compressed("image/svg+xml", "gzip"))
    turns = 0
    while not compressing.done():
        turns += 1
        if turns > 10:
            may_compress.set()
        await asyncio.sleep(0)
    assert (await compressing).headers["content-encoding"] == "gzip"
    assert turns > 10
