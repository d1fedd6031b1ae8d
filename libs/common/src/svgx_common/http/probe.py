"""The health check of the container images: `python -m svgx_common.http.probe`.

It requests `/health/live` from the container's service, or `/health/ready` with the argument `ready`. It ends with
status 0 if the response has the status 200, and with status 1 otherwise. It imports only the standard library, because
a container runs it every few seconds. It uses no proxy.
"""

import http.client
import os
import sys
from collections.abc import Mapping

ANSWER_SECONDS = 3.0
"""Time limit for the answer of the service, in seconds."""

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The address at which the container reaches its service, for each `API_HOST` that means all interfaces."""


def answers(page: str, environ: Mapping[str, str]) -> bool:
    """Return whether the service with these variables answers `/health/<page>` with the status 200."""
    host = environ.get("API_HOST", "").strip().strip("[]")
    port = environ.get("API_PORT", "").strip() or "8000"
    connection = http.client.HTTPConnection(
        _LOOPBACK.get(host, host), int(port), timeout=ANSWER_SECONDS
    )
    try:
        connection.request("GET", f"/health/{page}")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not answers("ready" if "ready" in sys.argv[1:] else "live", os.environ))
