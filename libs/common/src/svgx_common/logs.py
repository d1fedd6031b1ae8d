"""Logs: JSON lines, or readable ones on a terminal, with trace, user and canvas, and without secrets."""

import io
import logging
import re
import sys
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

SECRET_KEYS = re.compile(r"(?i)(passw(or)?d|secret|token|authorization|cookie|api[_-]?key)")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_SUBPROTOCOL = re.compile(r"\b(bearer\.)[A-Za-z0-9._~+-]{6,}")
"""Of a WebSocket, in a list of several."""
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_API_KEY = re.compile(r"\b(svgx_[0-9a-f]{12})_[A-Za-z0-9_-]{20,}")
_NAMED = re.compile(r"(?i)\b(\w*(?:token|passw(?:or)?d|secret|api[_-]?key)=)[^&\s\"',;]+")
_URL_PASSWORD = re.compile(r"(?i)(://[^\s/:@]*:)[^\s/]+@")
REDACTED = "[redacted]"

_CLIENTS_DOING = frozenset(
    {
        # With the path, as long as the client likes, and whatever is hidden in it.
        '%s - "WebSocket %s" [accepted]',
        '%s - "WebSocket %s" 403',
        '%s - "WebSocket %s" %d',
        "connection open",
        "connection closed",
        "connection rejected (%d %s)",
        "HTTP response sent (%d %s)",
        # Without a word of what or whose.
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
        # As errors of ours: a text that is none, and a client that left before it was answered.
        "Invalid UTF-8 sequence received from client.",
        "ASGI callable returned without completing handshake.",
    }
)
"""What uvicorn and `websockets` log of what any client does: anybody could fill the log with it."""

_CLIENTS_HEADERS = ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext")
"""Loggers that warn of a bad `tracestate`, with its text; the trace begins here then."""

Format = Literal["json", "console", "auto"]


def redact(value: Any) -> Any:
    """`value` without bearer tokens, JWTs, `token=` parameters and passwords in URLs, at any depth.

    What is not JSON becomes its text, so that an exception or a URL object hides nothing.
    """
    match value:
        case str():
            text = _SCHEME.sub(rf"\g<1> {REDACTED}", value)
            text = _SUBPROTOCOL.sub(rf"\g<1>{REDACTED}", text)
            text = _NAMED.sub(rf"\g<1>{REDACTED}", text)
            text = _URL_PASSWORD.sub(rf"\g<1>{REDACTED}@", text)
            text = _API_KEY.sub(rf"\g<1>_{REDACTED}", text)
            return _JWT.sub(REDACTED, text)
        case dict():
            return {
                key: REDACTED if SECRET_KEYS.search(str(key)) else redact(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact(repr(value))


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # A traceback that is not text yet is redacted when it is printed.
    raised = {"exc_info": event.pop("exc_info")} if "exc_info" in event else {}
    redacted: EventDict = redact(dict(event)) | raised
    return redacted


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _upper_level(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["level"] = str(event.get("level", "info")).upper()
    return event


def _plain_traceback(target: TextIO, error: ExcInfo) -> None:
    """structlog's own shows the values of variables: secrets, and megabytes that take seconds to print."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    target.write(redact(text.getvalue()))


def _is_no_clients_doing(record: logging.LogRecord) -> bool:
    return record.msg not in _CLIENTS_DOING


def configure(service: str, replica_id: str, level: str, form: Format = "auto") -> None:
    """Send every log line of this process, ours and the libraries', to standard error in one form."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
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
            _redact_event,
            structlog.processors.JSONRenderer(),
        ]
    )
    if console:
        rendering.insert(0, _redact_event)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The gateway counts and traces requests itself; uvicorn's access lines would only repeat them, with tokens.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_is_no_clients_doing)
    for logger in _CLIENTS_HEADERS:
        logging.getLogger(logger).setLevel(logging.ERROR)
    for noisy in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, replica=replica_id)
