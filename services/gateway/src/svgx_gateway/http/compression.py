"""Compression of large answers in a thread. Small ones are starlette-compress's, which does it where it stands."""

import asyncio
import gzip

from starlette.datastructures import Headers
from starlette.responses import Response

LARGE = 128 * 1024
"""Bytes from which compressing takes longer than the event loop may stand still: a millisecond or so."""

LEVEL = 1
"""gzip's fastest: drawings shrink to a fifth by it, and a slower one gains little on them."""

_TYPES = (
    "application/json",
    "application/problem+json",
    "image/svg+xml",
)


async def compress_large(response: Response, request_headers: Headers) -> None:
    """Compress the body of a large answer in place, if the client reads gzip."""
    body = response.body
    if len(body) < LARGE:
        return
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if media_type not in _TYPES:
        return
    response.headers.add_vary_header("Accept-Encoding")
    if not reads_gzip(request_headers.get("accept-encoding", "")):
        return
    response.body = await asyncio.to_thread(gzip.compress, bytes(body), LEVEL)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.body))


def reads_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip, or everything, and does not refuse it by `q=0` (RFC 9110, 12.5.3)."""
    qualities: dict[str, bool] = {}
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        qualities[coding.strip()] = weight.replace(" ", "").rstrip("0.") != "q="
    return qualities.get("gzip", qualities.get("*", False))
