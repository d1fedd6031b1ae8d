"""The responses of the gateway by kind of status, from which the share of good requests is calculated."""

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RESPONSES = Counter(
    "svgx_engine_http_responses",
    "HTTP responses of the gateway, without the pages of health and metrics. `1xx` is a WebSocket's upgrade.",
    ["status"],
)

_BY_HUNDREDS = {hundreds: RESPONSES.labels(f"{hundreds}xx") for hundreds in range(1, 6)}


class ResponseCounter:
    """ASGI middleware that counts the responses to requests and to the handshakes of WebSockets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request, and count its response."""

        async def send_counted(message: Message) -> None:
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    _BY_HUNDREDS[message["status"] // 100].inc()
                case "websocket.accept":
                    _BY_HUNDREDS[1].inc()
            await send(message)

        await self._app(scope, receive, send_counted)
