"""Read warnings and errors from the services' logs, for the terminal."""

import json
from collections.abc import Iterator
from pathlib import Path

_SHOWN = ("WARNING", "ERROR", "CRITICAL")
_MAX_WARNINGS = 5
"""Warnings of one service that one read returns. Further warnings are only counted, so that a failing service does not
flood the terminal."""


class WarningReader:
    """A reader of the lines that were added to one log since the last read."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def read(self) -> list[str]:
        """Return the new warnings, one line each."""
        found = list(self._warnings())
        more = len(found) - _MAX_WARNINGS
        return (
            [*found[:_MAX_WARNINGS], f"{self._name}: {more} more warnings: see {self._path}"]
            if more > 0
            else found
        )

    def _warnings(self) -> Iterator[str]:
        for line in self._new_lines():
            try:
                entry = json.loads(line)
                level, event = entry["level"], entry["event"]
            except (ValueError, LookupError, TypeError):
                continue  # not a log line of a service
            if level in _SHOWN:
                yield f"{self._name}: {level.lower()}: {str(event)[:200]}"

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._offset:  # the log was rotated
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return lines
