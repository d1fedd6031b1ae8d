"""The closes of WebSockets: a metric by close code, and log lines about the connections of accounts."""

import time

import structlog
from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svgx_common.contract.close_codes import Close
from svgx_common.http.afterwards import call_at_end
from svgx_gateway.observability.notes import Notes, note_user, notes_of, start_notes
from svgx_gateway.observability.request_log import anonymous_log
from svgx_gateway.observability.response_counter import UPGRADED, count_response

log = structlog.get_logger(__name__)

STANDARD_CODES = frozenset(
    {1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
)
"""The close codes of RFC 6455 and IANA that a client may send or that `websockets` may report."""

OTHER = "other"
"""The label of all other codes, because a client may choose from 2,000 codes."""

CLOSES = Counter(
    "svgx_engine_websocket_closes",
    "WebSockets closed after their upgrade, by the close code of the side that closed first.",
    ["code"],
)
LABELLED = STANDARD_CODES | {int(code) for code in Close}
for _label in (*map(str, sorted(LABELLED)), OTHER):
    CLOSES.labels(_label)

NO_CODE = 1005
"""The code of a close frame without a code (RFC 6455, 7.1.5)."""


class SocketLog:
    """ASGI middleware that counts the closes, and logs the connections of accounts.

    A client without a valid token causes no lines, except for a limited number of lines about refusals with 5xx. The
    endpoint of Hocuspocus clients accepts a socket before its first token, and then calls `note_first_user`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a WebSocket. Pass on everything else."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        notes = start_notes(scope)
        opened_at: float | None = None
        code: int | None = None
        reason = ""

        async def receive_and_note() -> Message:
            nonlocal code, reason
            message = await receive()
            if message["type"] == "websocket.disconnect" and code is None:
                code, reason = message.get("code") or NO_CODE, message.get("reason") or ""
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal opened_at, code, reason
            match message["type"]:
                case "websocket.accept":
                    opened_at = time.monotonic()
                    count_response(UPGRADED)
                    if notes.user_id is not None:
                        _log_opened(notes)
                case "websocket.close" if code is None:
                    code, reason = message.get("code") or Close.NORMAL, message.get("reason") or ""
                case "websocket.http.response.start":
                    count_response(message["status"])
                    if message["status"] >= 500:
                        anonymous_log.error(
                            "websocket refused", status=message["status"], **notes.fields()
                        )
            await send(message)

        def note_end() -> None:
            if opened_at is not None:
                # Without a code, the application has raised an exception, and the server closes the connection.
                closed = Close.INTERNAL if code is None else code
                _note_close(notes, int(closed), reason, time.monotonic() - opened_at)

        try:
            await self._app(scope, receive_and_note, send_and_note)
        finally:
            call_at_end(scope, note_end)


def note_first_user(scope: Scope, user_id: str) -> None:
    """Note the account of an accepted WebSocket and log its opening, unless the socket has an account already."""
    notes = notes_of(scope)
    if notes.user_id is None:
        note_user(scope, user_id)
        _log_opened(notes)


def _log_opened(notes: Notes) -> None:
    log.info("websocket opened", **notes.fields())


def _note_close(notes: Notes, code: int, reason: str, seconds: float) -> None:
    """Count the end of an accepted WebSocket, and log it if it belongs to an account."""
    CLOSES.labels(str(code) if code in LABELLED else OTHER).inc()
    if notes.user_id is not None:
        log.info(
            "websocket closed",
            close_code=code,
            reason=reason,
            seconds=round(seconds, 1),
            **notes.fields(),
        )
