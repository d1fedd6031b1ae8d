"""The ids of the present request's user and canvas, for its log lines.

One context variable holds all ids, because structlog's own variables, one for each id, cost several microseconds a
request.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from structlog.typing import EventDict, WrappedLogger

_NO_IDS: Mapping[str, str] = MappingProxyType({})
_ids: ContextVar[Mapping[str, str]] = ContextVar("svgx_log_ids", default=_NO_IDS)


def use_ids(ids: Mapping[str, str]) -> None:
    """Add these ids to the later log lines of the present task, and of tasks that it starts.

    These ids replace all earlier ids. An id that the caller puts into the mapping `ids` later is added too.
    """
    _ids.set(ids)


def add_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the ids to a log line that does not have them (a processor of structlog)."""
    for name, value in _ids.get().items():
        event.setdefault(name, value)
    return event
