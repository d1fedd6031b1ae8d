"""The origins of pages that may open a WebSocket. The same-origin policy does not cover WebSockets (RFC 6455, 10.2)."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers


def split(text: str) -> list[str]:
    """Split a comma-separated setting into origins without a trailing slash."""
    return [origin.strip().rstrip("/") for origin in text.split(",") if origin.strip()]


class AllowedOrigins:
    """The origins from which a page may connect; `*` allows every origin.

    A page of the gateway's own host may always connect. A client that sends no `Origin` is not a browser, and could
    send any origin, so it is allowed too.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def allows(self, headers: Headers) -> bool:
        """Return whether a handshake with these headers may go on."""
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed:
            return True
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            return False
