"""Read warnings and errors from the services' logs, for the terminal."""

import json
from collections.abc import Iterator
from pathlib import Path

_SHOWN_LEVELS = ("WARNING", "ERROR", "CRITICAL")
_MAX_WARNINGS = 5
"""Maximum number of warnings that one read returns. Further warnings are only counted, so that a failing service does
not flood the terminal."""


class WarningReader:
    """A reader of the lines that were added to one log since the last read."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._incomplete_line = b""

    def read(self) -> list[str]:
        """Return the new warnings, one line each."""
        warnings = list(self._warnings())
        left_out = len(warnings) - _MAX_WARNINGS
        return (
            [*warnings[:_MAX_WARNINGS], f"{self._name}: {left_out} more warnings: see {self._path}"]
            if left_out > 0
            else warnings
        )

    def _warnings(self) -> Iterator[str]:
        for line in self._new_lines():
            try:
                entry = json.loads(line)
                level, event = entry["level"], entry["event"]
            except (ValueError, LookupError, TypeError):
                continue  # not a log line of a service
            if level in _SHOWN_LEVELS:
                yield f"{self._name}: {level.lower()}: {str(event)[:200]}"

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._offset:  # the log was rotated
                    self._offset, self._incomplete_line = 0, b""
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(added)
        *lines, self._incomplete_line = (self._incomplete_line + added).split(b"\n")
        return lines
