"""Compression of large responses in a thread. starlette-compress compresses small responses on the event loop."""

import asyncio
import gzip

from starlette.datastructures import Headers
from starlette.responses import Response

LARGE_BYTES = 128 * 1024
"""Minimum size of a large response, in bytes.

Its compression would block the event loop for about a millisecond or longer.
"""

LEVEL = 1
"""gzip's fastest level. It reduces SVG to a fifth, and slower levels gain little."""

_MEDIA_TYPES = (
    "application/json",
    "application/problem+json",
    "image/svg+xml",
)


async def compress_large(response: Response, request_headers: Headers) -> None:
    """Compress the body of a large response in place, if the client accepts gzip.

    For other clients, the body stays as it is.
    """
    body = response.body
    if len(body) < LARGE_BYTES:
        return
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if media_type not in _MEDIA_TYPES:
        return
    response.headers.add_vary_header("Accept-Encoding")
    if not accepts_gzip(",".join(request_headers.getlist("accept-encoding"))):
        return
    response.body = await asyncio.to_thread(gzip.compress, bytes(body), LEVEL)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.body))


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether `Accept-Encoding` lists gzip or `*`, and does not exclude it by `q=0` (RFC 9110, 12.5.3)."""
    accepted: dict[str, bool] = {}
    for item in accept_encoding.lower().split(","):
        coding, _, weight = item.partition(";")
        accepted[coding.strip()] = weight.replace(" ", "").rstrip("0.") != "q="
    return accepted.get("gzip", accepted.get("*", False))
