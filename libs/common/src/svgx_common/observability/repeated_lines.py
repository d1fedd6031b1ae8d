"""A limit on repeated log lines, because one lasting failure would otherwise fill the log and hide all others."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

BURST = 10
"""Maximum number of lines of one kind that are written without a pause."""

REFILL_SECONDS = 10.0
"""Seconds until one more line of the kind may be written."""

MAX_KINDS = 1000
"""Maximum number of remembered kinds. Beyond it, the kind that occurred longest ago is forgotten."""

UNLIMITED_LOGGER = "svgx.requests"
"""The name of the logger of accounts' requests. No line is left out, because a user may ask about each request."""

AUDIT_LOGGER = "svgx.audit"
"""The name of the logger of admins' operations. No line is left out: some operations have no other record."""

REFUSALS_LOGGER = "svgx.refusals"
"""The name of the logger of requests that a starting or stopping service refuses.

Its lines are limited like warnings, because all clients that connect again at a restart are refused.
"""

_KIND_FIELDS = ("operation", "code", "status", "error", "work", "circuit", "reason")
"""Fields that make two lines with the same event different in kind. Ids of users and canvases are not among them."""


class RepeatedLines(logging.Filter):
    """A filter that limits warnings, errors and refusals of one kind.

    The next written line states how many were left out. A line's kind is its logger, its event, its type of exception
    and its `_KIND_FIELDS`. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.name in {UNLIMITED_LOGGER, AUDIT_LOGGER}:
            return True
        if record.levelno < logging.WARNING and record.name != REFUSALS_LOGGER:
            return True
        key = _key(record)
        now = self._clock()
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(now)
            if len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(key)
        if not kind.take(now):
            return False
        if kind.left_out:
            _add_left_out(record, kind.left_out)
            kind.left_out = 0
        return True


class _Kind:
    """The number of lines of one kind that may be written now, and of lines left out since the last written line."""

    def __init__(self, now: float) -> None:
        self._lines = float(BURST)
        self._updated_at = now
        self.left_out = 0

    def take(self, now: float) -> bool:
        """Return whether a line may be written at this time, and count the line as written or as left out."""
        self._lines = min(BURST, self._lines + (now - self._updated_at) / REFILL_SECONDS)
        self._updated_at = now
        if self._lines < 1:
            self.left_out += 1
            return False
        self._lines -= 1
        return True


def _key(record: logging.LogRecord) -> Hashable:
    event: Any = record.msg
    exception: Any = record.exc_info
    fields: tuple[Any, ...] = ()
    if isinstance(event, dict):  # a line of structlog
        exception = event.get("exc_info")
        fields = tuple(str(event.get(name)) for name in _KIND_FIELDS)
        event = event.get("event")
    return record.name, str(event), _exception_type(exception), fields


def _exception_type(exception: Any) -> type[BaseException] | None:
    """Return the type of an exception that is given in any of the forms that `logging` accepts, or None without one."""
    match exception:
        case True:
            return sys.exc_info()[0]
        case BaseException():
            return type(exception)
        case (kind, *_):
            return kind  # type: ignore[no-any-return]
        case _:
            return None


def _add_left_out(record: logging.LogRecord, count: int) -> None:
    event: Any = record.msg
    if isinstance(event, dict):
        event["left_out"] = count
    else:
        record.msg = f"{record.getMessage()} ({count} more such lines were left out)"
        record.args = None
