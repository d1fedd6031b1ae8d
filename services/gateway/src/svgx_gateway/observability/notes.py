"""Notes about one request or WebSocket, made while it is handled, for its log line."""

from dataclasses import dataclass

import structlog
from starlette.types import Scope

_KEY = "svgx.notes"

MAX_ID = 64
"""Characters of a canvas id in a log line. A client may send a longer text in its place."""


@dataclass(slots=True)
class Notes:
    """The facts that a log line names. Each is None until it is known."""

    operation: str | None = None
    user_id: str | None = None
    canvas_id: str | None = None
    code: str | None = None

    def fields(self) -> dict[str, str]:
        """Return the known facts."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        return {name: fact for name, fact in facts.items() if fact is not None}


def start_notes(scope: Scope) -> Notes:
    """Add empty notes to a connection's scope, and return them."""
    # uvicorn starts a pipelined request in the context of the request before it.
    structlog.contextvars.unbind_contextvars("user_id", "canvas_id")
    notes = Notes()
    scope[_KEY] = notes
    return notes


def note_failure(scope: Scope, operation: str | None, code: str) -> None:
    """Note the operation and the error's code."""
    notes = _notes_of(scope)
    notes.operation, notes.code = operation, code


def note_user(scope: Scope, user_id: str) -> None:
    """Note the account. Every later log line of the request has it too."""
    _notes_of(scope).user_id = user_id
    structlog.contextvars.bind_contextvars(user_id=user_id)


def note_canvas(scope: Scope, canvas_id: str) -> None:
    """Note the canvas. Every later log line of the request has it too."""
    canvas_id = canvas_id[:MAX_ID]
    _notes_of(scope).canvas_id = canvas_id
    structlog.contextvars.bind_contextvars(canvas_id=canvas_id)


def _notes_of(scope: Scope) -> Notes:
    """Return the notes; new ones without a reader when the log's middleware is not in use."""
    notes: Notes | None = scope.get(_KEY)
    return start_notes(scope) if notes is None else notes
