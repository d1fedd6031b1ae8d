"""Shows on the terminal what the services log as a warning or worse; the rest stays in the files."""

import json
from collections.abc import Iterator
from pathlib import Path

_SHOWN = ("WARNING", "ERROR", "CRITICAL")
# A service in trouble must not bury the terminal: so many lines a look, then only their number.
_MOST = 5


class Follower:
    """Reads what was added to one log since the last look."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def look(self) -> list[str]:
        """New warnings, one line each."""
        found = list(self._warnings())
        more = len(found) - _MOST
        return (
            [*found[:_MOST], f"{self._name}: {more} more warnings: see {self._path}"]
            if more > 0
            else found
        )

    def _warnings(self) -> Iterator[str]:
        for line in self._new_lines():
            try:
                entry = json.loads(line)
                level, event = entry["level"], entry["event"]
            except (ValueError, LookupError, TypeError):
                continue  # not one of our log lines
            if level in _SHOWN:
                yield f"{self._name}: {level.lower()}: {str(event)[:200]}"

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._offset:  # it was rotated
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return lines
