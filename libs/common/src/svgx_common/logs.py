"""Logs without secrets: JSON lines, or readable lines on a terminal, with the ids of the trace."""

import io
import logging
import re
import sys
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from svgx_common.observability.log_ids import add_ids
from svgx_common.observability.repeated_lines import RepeatedLines

SECRET_NAMES = re.compile(r"(?i)(passw(or)?d|secret|token|authorization|cookie|api[_-]?key)")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_SUBPROTOCOL = re.compile(r"\b(bearer\.)[A-Za-z0-9._~+-]{6,}")
"""The subprotocol of a WebSocket handshake that carries an access token or API key."""
_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.)((?:[A-Za-z0-9_-]*?-)??)"
    r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
)
"""A JWT, and in the group the text before it up to a hyphen.

The lookahead is tried only at the beginning of a word, so that the time for a text such as `eyJ-eyJ-…` is linear.
"""
_API_KEY = re.compile(r"\b(svgx(?:link)?_[0-9a-f]{12})_[A-Za-z0-9_-]{20,}")
_PARAMETER = re.compile(
    r"(?i)\b((?:\w*(?:token|passw(?:or)?d|secret|api[_-]?key)|link)=)[^&\s\"',;]+"
)
_URL_PASSWORD = re.compile(r"(?i)(://[^\s/:@]*:)[^\s/]+@")
_PERHAPS_SECRET = re.compile(r"(?i)bearer|basic|=|://|svgx|eyJ")
"""Matches every text of which `redact` replaces a part. Most texts do not match, and need only this one search."""

REDACTED = "[redacted]"
"""The replacement of a secret."""

_CLIENT_EVENTS = frozenset(
    {
        # These lines contain the path, which may be long and may hold a token.
        '%s - "WebSocket %s" [accepted]',
        '%s - "WebSocket %s" 403',
        '%s - "WebSocket %s" %d',
        # These lines name neither the client nor the request.
        "connection open",
        "connection closed",
        "connection rejected (%d %s)",
        "HTTP response sent (%d %s)",
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
        # A client causes these errors: it sends text that is not UTF-8, or leaves before the response.
        "Invalid UTF-8 sequence received from client.",
        "ASGI callable returned without completing handshake.",
    }
)
"""Messages of uvicorn and `websockets` that any client can cause. They are dropped, because they could fill the log."""

_LEAST_LEVELS = {
    # HTTP clients. The path or query of a webhook's URL may hold a secret.
    **dict.fromkeys(("httpx", "httpcore", "httpx2", "httpcore2", "urllib3"), logging.WARNING),
    # At DEBUG, `websockets` logs each header and each frame here.
    "uvicorn.error": logging.INFO,
    # A warning quotes a malformed header: `tracestate`, or a header of the exporter, with its secret.
    "opentelemetry.trace.span": logging.ERROR,
    "opentelemetry.trace.propagation.tracecontext": logging.ERROR,
    "opentelemetry.util.re": logging.ERROR,
}
"""The least severe level of libraries' loggers, by name. Less severe lines contain URLs, headers or frames."""

Format = Literal["json", "console", "auto"]


def redact(value: Any) -> Any:
    """Return `value` without credentials.

    In a text, credentials are values after `Bearer` and `Basic`, JWTs, API keys, share links, passwords in URLs, and
    parameters such as `token=` and `link=`. In a dictionary, the value of a key with a secret's name is replaced too.

    Containers are redacted at any depth. Other objects, such as exceptions, are replaced by their redacted `repr`.
    """
    match value:
        case str():
            if _PERHAPS_SECRET.search(value) is None:
                return value
            text = _SCHEME.sub(rf"\g<1> {REDACTED}", value)
            text = _SUBPROTOCOL.sub(rf"\g<1>{REDACTED}", text)
            text = _PARAMETER.sub(rf"\g<1>{REDACTED}", text)
            text = _URL_PASSWORD.sub(rf"\g<1>{REDACTED}@", text)
            text = _API_KEY.sub(rf"\g<1>_{REDACTED}", text)
            return _JWT.sub(rf"\g<1>{REDACTED}", text)
        case dict():
            return {
                key: REDACTED if SECRET_NAMES.search(str(key)) else redact(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact(repr(value))


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # On a terminal, `exc_info` is still an exception here. `_plain_traceback` redacts its text later.
    exception = {"exc_info": event.pop("exc_info")} if "exc_info" in event else {}
    redacted: EventDict = redact(dict(event)) | exception
    return redacted


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


_IDS = ("user_id", "canvas_id", "trace_id")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An id that may be added in searchable form.

A client chooses the canvas id in a path. Without this check, the id `x user_id=…` would forge the id of a user.
"""


def _add_searchable_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the ids as `user_id=…` too, because `grep "user_id=…"` does not find them as JSON."""
    if "user_id" in event or "canvas_id" in event:
        ids = {name: str(event[name]) for name in _IDS if name in event}
        event["ids"] = " ".join(f"{name}={ids[name]}" for name in ids if _ID.fullmatch(ids[name]))
    return event


def _escape(text: str) -> str:
    """Return `text` with its control characters, line breaks and invisible characters as Python's escape sequences."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _escape_lines(text: str) -> str:
    """Return `text` with each of its lines escaped. The line breaks stay."""
    return "\n".join(_escape(line) for line in text.split("\n"))


def _escape_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape the texts of a line for a terminal. A client may have put line breaks or terminal codes into them."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = (
                _escape_lines(value) if name in ("exception", "stack") else _escape(value.rstrip())
            )
    return event


def _upper_level(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["level"] = str(event.get("level", "info")).upper()
    return event


def _plain_traceback(target: TextIO, error: ExcInfo) -> None:
    """Print a redacted traceback without variables.

    structlog's default also prints the values of variables: secrets, and megabytes that take seconds to print.
    """
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    target.write(_escape_lines(redact(text.getvalue())))


def _is_not_client_event(record: logging.LogRecord) -> bool:
    return record.msg not in _CLIENT_EVENTS


def configure(service: str, replica_id: str, level: str, form: Format = "auto") -> None:
    """Send all log lines of this process and its libraries to standard error, in one format."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_ids,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _upper_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=_plain_traceback)]
        if console
        else [
            structlog.processors.format_exc_info,
            _add_searchable_ids,
            _redact_event,
            structlog.processors.JSONRenderer(),
        ]
    )
    if console:
        rendering[:0] = [_redact_event, _escape_event]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatedLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The gateway counts and traces requests itself. uvicorn's access log would repeat them, with tokens.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_is_not_client_event)
    for name, least in _LEAST_LEVELS.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, replica=replica_id)
