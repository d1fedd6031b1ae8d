"""Writes a log line for each request of an account that fails with 5xx, and a limited number for others.

With `ACCESS_LOG`, each request gets a line. The middleware also counts each response by its status.
"""

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svgx_common.observability.repeated_lines import UNLIMITED_LOGGER
from svgx_gateway.observability.notes import start_notes
from svgx_gateway.observability.response_counter import count_response

log = structlog.get_logger(UNLIMITED_LOGGER)
anonymous_log = structlog.get_logger(f"{UNLIMITED_LOGGER}.anonymous")
"""The logger for lines that a client without an account can cause.

Its repeated lines are limited, because only the logger with the name `UNLIMITED_LOGGER` itself is exempt.
"""

MAX_PATH_LENGTH = 200
"""Largest number of characters of a path in a log line. The rest is cut off, because the client chooses the length."""


class RequestLog:
    """ASGI middleware that writes the lines. It must run within the span of the request, for the trace id."""

    def __init__(self, app: ASGIApp, *, every_request: bool) -> None:
        self._app = app
        self._every_request = every_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request, and write its line after the response. Pass on everything else."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        notes = start_notes(scope)
        started = time.perf_counter()
        # Without a response, the application has raised an exception. The request then counts as a 500.
        status = 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            count_response(status)
            if status >= 500 or self._every_request:
                fields: dict[str, Any] = {
                    "method": scope["method"],
                    "path": scope["path"][:MAX_PATH_LENGTH],
                    "status": status,
                    "ms": round((time.perf_counter() - started) * 1000, 1),
                    "client": scope["client"][0] if scope.get("client") else None,
                    **notes.fields(),
                }
                if status < 500:
                    log.info("request", **fields)
                elif notes.user_id is None and not self._every_request:
                    anonymous_log.error("request failed", **fields)
                else:
                    log.error("request failed", **fields)
