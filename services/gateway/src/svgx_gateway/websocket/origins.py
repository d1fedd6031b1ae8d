"""Which web pages may open a WebSocket: the same-origin policy does not cover them (RFC 6455, 10.2)."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import Forbidden
from svgx_gateway.http import problems


def split(text: str) -> list[str]:
    """A comma-separated setting. An origin ends without a slash."""
    return [origin.strip().rstrip("/") for origin in text.split(",") if origin.strip()]


class OriginCheck:
    """ASGI middleware: a page of another origin gets 403 instead of the upgrade.

    Who sends no `Origin` is no browser, and could send any. Pages of the host itself may always.
    """

    def __init__(self, app: ASGIApp, allowed: list[str]) -> None:
        self._app = app
        self._allowed = frozenset(origin.lower() for origin in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "websocket" and not self._admits(Headers(scope=scope)):
            refusal = problems.response(
                Forbidden("pages of this origin may not connect", field="origin")
            )
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await self._app(scope, receive, send)

    def _admits(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed:
            return True
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            return False
