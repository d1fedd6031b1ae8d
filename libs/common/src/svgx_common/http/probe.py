"""The check of the images: `python -m svgx_common.http.probe` ends with status 0 while the container's service runs.

With the argument `ready` it ends with status 0 while the service is ready. It imports only the standard library,
because a container runs it every few seconds. It uses no proxy.
"""

import http.client
import os
import sys
from collections.abc import Mapping

TIMEOUT = 3.0
"""Seconds to wait for the answer of the service."""

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The address at which the container reaches its service, for each `API_HOST` that means all interfaces."""


def answers(page: str, environ: Mapping[str, str]) -> bool:
    """Return whether a page of `/health/` has the status 200, at the service with these variables."""
    host = environ.get("API_HOST", "").strip().strip("[]")
    port = environ.get("API_PORT", "").strip() or "8000"
    connection = http.client.HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=TIMEOUT)
    try:
        connection.request("GET", f"/health/{page}")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not answers("ready" if "ready" in sys.argv[1:] else "live", os.environ))
