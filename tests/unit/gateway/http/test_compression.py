"""Large answers are compressed beside the event loop."""

import asyncio
import gzip

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from svgx_gateway.http.compression import LARGE, compress_large

SVG = b'<rect width="1"/>' * (4 * LARGE)


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
async def test_what_is_compressed(media_type: str, accept: str, expected: bool) -> None:
    """Proves R-HTTP-8."""
    response = await compressed(media_type, accept)
    assert ("content-encoding" in response.headers) == expected
    assert response.headers["content-length"] == str(len(response.body))
    body = bytes(response.body)
    assert (gzip.decompress(body) if expected else body) == SVG


async def test_the_event_loop_goes_on() -> None:
    """Proves R-HTTP-8: other work is done while a large answer is compressed."""
    compressing = asyncio.create_task(compressed("image/svg+xml", "gzip"))
    turns = 0
    while not compressing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
