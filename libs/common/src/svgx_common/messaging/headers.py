"""The headers of requests and answers on the bus."""

import time
from urllib.parse import quote, unquote

HEADER_DEADLINE = "Svgx-Deadline"
"""The Unix time in milliseconds after which the caller no longer waits for the answer."""

HEADER_CALLER = "Svgx-Caller"
"""The `Caller` of a request, as JSON."""

HEADER_CLIENT = "Svgx-Client"
"""The `Client` of a request, as JSON."""

HEADER_PARAMS = "Svgx-Params"
"""The fields of a `RawRequest`, as JSON. The message's payload is the raw content."""

HEADER_BODY = "Svgx-Body"
"""The reference from which the receiver pulls a body that is too large for one message (see `blobs`)."""

HEADER_GATEWAY = "Svgx-Gateway"
"""The id of the gateway that asks the holder of a canvas for a sync.

The holder then sends the broadcasts of the canvas on the link to this gateway.
"""

HEADER_ELEMENTS = "Svgx-Elements"
"""`1` in a gateway's request for a sync if the gateway has JSON clients of the canvas.

The holder then sends element events of the canvas to all gateways.
"""

HEADER_PROBE = "Svgx-Probe"
"""Marks a probe: a message that tests a permission of its sender, or the state of its receiver.

No receiver executes a probe. A responder answers a probe with a `ProbeAnswer`. A replica answers it in the same way on
the subject of its health report. The probes of `svgx_common.doctor` also have a deadline that has passed. A
service that does not know this header then refuses the probes.
"""

HEADER_ERROR = "Svgx-Error"
"""The code of an error. The answer's payload is an `ErrorBody`."""

HEADER_MEDIA_TYPE = "Content-Type"
HEADER_FILENAME = "Svgx-Filename"
"""The file name of an answer, as percent-encoded UTF-8."""
HEADER_LEFT_OUT = "Svgx-Left-Out"

Headers = dict[str, str]


def encode_filename(name: str) -> str:
    """Return the value of `HEADER_FILENAME` for a file name."""
    return quote(name, safe=" ")


def decode_filename(headers: Headers) -> str | None:
    """Return the file name of an answer, or None if it has none."""
    value = headers.get(HEADER_FILENAME)
    return None if value is None else unquote(value)


def encode_deadline(timeout: float) -> str:
    """Return the value of `HEADER_DEADLINE` for a caller that waits `timeout` seconds from now."""
    return str(int((time.time() + timeout) * 1000))


def decode_deadline(headers: Headers, default_timeout: float) -> float:
    """Return a request's deadline in Unix seconds. Without a valid header, it is `default_timeout` seconds from now."""
    value = headers.get(HEADER_DEADLINE, "")
    return int(value) / 1000 if value.isdecimal() else time.time() + default_timeout
