"""The log lines of code that runs in the test's process."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import structlog

from svgx_common import logs
from svgx_common.observability.log_ids import use_ids


class LogReader:
    """The log of this process since the last call of `read`."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream
        self._position = 0

    def read(self) -> list[dict[str, Any]]:
        """Return the lines written since the last call."""
        text = self._stream.getvalue()[self._position :]
        self._position += len(text)
        return [json.loads(line) for line in text.splitlines()]


@contextmanager
def read_logs(service: str, level: str = "INFO") -> Iterator[LogReader]:
    """Configure logging as a service does, and return a reader. Restore the configuration at the end of the block."""
    root = logging.getLogger()
    handlers, former_level = root.handlers[:], root.level
    stream = io.StringIO()
    with patch("sys.stderr", stream):
        logs.configure(service, "one", level, "json")
    try:
        yield LogReader(stream)
    finally:
        root.handlers[:] = handlers
        root.setLevel(former_level)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        use_ids({})
