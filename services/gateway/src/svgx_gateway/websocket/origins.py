"""The origins of pages that may open a WebSocket. The same-origin policy does not cover WebSockets (RFC 6455, 10.2)."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_ORIGIN = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]*,]+)(:[0-9]{1,5})?"
)
"""The form of an origin (RFC 6454, 6.2)."""


def split(text: str) -> list[str]:
    """Split a comma-separated setting into origins in lower case, without a trailing slash."""
    return [origin.strip().rstrip("/").lower() for origin in text.split(",") if origin.strip()]


def check(text: str) -> str:
    """Return `text` unchanged if all its entries are origins, `*` or `null`. Otherwise, raise `ValueError`.

    The error names the number of the first wrong entry.
    """
    for number, origin in enumerate(split(text), 1):
        if origin not in ("*", "null") and _ORIGIN.fullmatch(origin) is None:
            raise ValueError(
                f"entry {number} is not `*` or an origin such as https://host:port, without a path; "
                "separate entries by commas"
            )
    return text


class AllowedOrigins:
    """The origins from which a page may connect, in lower case (see `split`); `*` allows every origin.

    A page of the gateway's own host may always connect. A client that sends no `Origin` is not a browser, and could
    send any origin, so it is allowed too.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def allows(self, headers: Headers) -> bool:
        """Return whether a handshake with these headers is allowed."""
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed:
            return True
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            return False
