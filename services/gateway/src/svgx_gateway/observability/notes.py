"""Notes about one request or WebSocket, made while it is handled, for its log line."""

from dataclasses import dataclass, field

from starlette.types import Scope

from svgx_common.observability.log_ids import use_ids

_KEY = "svgx.notes"

MAX_ID_LENGTH = 64
"""Largest number of characters of a canvas id in a log line. A client may send a longer text as the id."""


@dataclass(slots=True)
class Notes:
    """The facts that a log line names. A fact that is not known yet is None, or missing in `ids`."""

    ids: dict[str, str] = field(default_factory=dict)
    """`user_id` and `canvas_id`, which every later log line of the request has."""
    operation: str | None = None
    code: str | None = None
    route: str | None = None
    """The template of the path. It is for the request's span, and is not in the log line."""

    @property
    def user_id(self) -> str | None:
        """Return the account's id, or None while no account is known."""
        return self.ids.get("user_id")

    def fields(self) -> dict[str, str]:
        """Return the known facts for the log line: all except the route."""
        facts = {"operation": self.operation, "code": self.code}
        return {name: fact for name, fact in facts.items() if fact is not None} | self.ids


def start_notes(scope: Scope) -> Notes:
    """Add empty notes to a connection's scope, and return them."""
    notes = Notes()
    scope[_KEY] = notes
    # This also removes the ids of an earlier request: uvicorn starts a pipelined request in the context of the request
    # before it.
    use_ids(notes.ids)
    return notes


def note_failure(scope: Scope, operation: str | None, code: str) -> None:
    """Note the operation and the error's code."""
    notes = notes_of(scope)
    notes.operation, notes.code = operation, code


def note_route(scope: Scope, route: str) -> None:
    """Note the template of the path."""
    notes_of(scope).route = route


def note_user(scope: Scope, user_id: str) -> None:
    """Note the account."""
    notes_of(scope).ids["user_id"] = user_id


def note_canvas(scope: Scope, canvas_id: str) -> None:
    """Note the canvas."""
    notes_of(scope).ids["canvas_id"] = canvas_id[:MAX_ID_LENGTH]


def notes_of(scope: Scope) -> Notes:
    """Return the connection's notes. Add empty notes, which nothing reads, if the log's middleware is not in use."""
    notes: Notes | None = scope.get(_KEY)
    return start_notes(scope) if notes is None else notes
