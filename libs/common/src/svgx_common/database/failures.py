"""The temporary errors of PostgreSQL, by their SQLSTATE.

The codes are those of PostgreSQL's documentation, appendix A. An entry for a whole code takes precedence over
an entry for its first two characters.
"""

from dataclasses import dataclass

import asyncpg

NOT_REACHABLE = "is not reachable"
SILENT = "does not answer"
READ_ONLY = "is read-only"


@dataclass(frozen=True, slots=True)
class Failure:
    """A temporary error: the same statement may succeed later.

    - `reason`: the end of a sentence that begins with "the database". Clients and the health report show it.
    - `drop`: the connection is closed, because a later statement on it would fail too.
    - `outage`: other statements fail too, although the server answers. The service is not ready until a write succeeds,
      or `monitor.OUTAGE_SECONDS` have passed.
    """

    reason: str
    drop: bool = True
    outage: bool = False


_NOT_REACHABLE = Failure(NOT_REACHABLE)
PERMISSIONS = Failure("refuses the service's role access to its tables", outage=True)
_CONFLICT = Failure("ended a transaction because of a conflict", drop=False)
_STOPPING = Failure("is starting, stopping or recovering")

_BY_SQLSTATE = {
    "08": _NOT_REACHABLE,
    "0A000": Failure("has a changed schema"),
    "25006": Failure(READ_ONLY),
    # asyncpg drops this error if it arrives between two statements. The next statement then raises `InterfaceError`.
    "25P03": Failure("ended a transaction that was idle for too long"),
    "25P04": Failure("ended a transaction that took too long"),
    "40": _CONFLICT,
    # PostgreSQL also gives this code when a disk error has made the file system read-only.
    "42501": PERMISSIONS,
    "53": Failure("has no memory, connections or other resources left", outage=True),
    "53100": Failure("has no disk space left", outage=True),
    "53300": Failure("accepts no more connections", outage=True),
    "55P03": _CONFLICT,
    "57": Failure("does not carry out statements", outage=True),
    "57014": Failure("cancelled a statement that took too long"),
    "57P01": _STOPPING,
    "57P02": _STOPPING,
    "57P03": _STOPPING,
    "57P05": Failure("closed an idle connection"),
    "58": Failure("has an error of its disk or operating system", outage=True),
}

_CLIENT_ERRORS: tuple[tuple[type[Exception], Failure], ...] = (
    (TimeoutError, Failure("did not answer in time")),
    (
        asyncpg.TargetServerAttributeNotMatched,
        Failure("has no host that fits target_session_attrs"),
    ),
    (asyncpg.InterfaceError, _NOT_REACHABLE),
    # After a crash of the server, the pool's reset of the connection raises this and hides the first error.
    (asyncpg.InternalClientError, _NOT_REACHABLE),
    (OSError, _NOT_REACHABLE),
    (EOFError, _NOT_REACHABLE),
)
"""The failures for errors of the client. The first entry that matches is used."""


def classify(error: BaseException, *, connecting: bool = False) -> Failure | None:
    """Return the failure for a temporary error, or None for any other error.

    `connecting`: the error was raised before there was a connection. Every error of the server then counts as
    temporary, because such an error is about the server and its settings, and not about a statement.
    """
    if isinstance(error, asyncpg.PostgresError):
        code = sqlstate(error) or ""
        if code == "0A000" and not isinstance(error, asyncpg.InvalidCachedStatementError):
            return None  # an unsupported feature, not a change of the schema
        by_default = Failure("refuses connections") if connecting else None
        return _BY_SQLSTATE.get(code) or _BY_SQLSTATE.get(code[:2]) or by_default
    return next((failure for kind, failure in _CLIENT_ERRORS if isinstance(error, kind)), None)


def find_origin(error: Exception) -> Exception:
    """Return the error with which the server closed the connection, or `error` itself if the server sent none.

    asyncpg chains further errors to it: one that the connection was closed, and one from the end of the transaction.
    """
    closed: BaseException | None = error
    while isinstance(closed, asyncpg.InterfaceError):
        closed = closed.__context__
    if isinstance(closed, asyncpg.ConnectionDoesNotExistError):
        origin = closed.__cause__
        if isinstance(origin, asyncpg.PostgresError) and classify(origin) is not None:
            return origin
    return error


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of PostgreSQL, or None for another error."""
    code = getattr(error, "sqlstate", None)
    return code if isinstance(code, str) else None
