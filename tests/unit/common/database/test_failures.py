"""The classification of PostgreSQL's errors: the temporary errors, and all others."""

import asyncpg
import pytest

from svgx_common.database.failures import Failure, classify


def server_error(sqlstate: str) -> asyncpg.PostgresError:
    """Return the exception that asyncpg raises for this code."""
    return asyncpg.PostgresError.new({"C": sqlstate, "M": "message"})


@pytest.mark.parametrize(
    ("sqlstate", "reason", "drop", "outage"),
    [
        ("08006", "is not reachable", True, False),
        ("08P01", "is not reachable", True, False),
        ("25006", "is read-only", True, False),
        ("25P03", "ended a transaction that was idle", True, False),
        ("25P04", "ended a transaction that took too long", True, False),
        ("40001", "conflict", False, False),
        ("40P01", "conflict", False, False),
        ("42501", "refuses the service's role", True, True),
        ("53000", "resources", True, True),
        ("53100", "has no disk space left", True, True),
        ("53200", "resources", True, True),
        ("53300", "accepts no more connections", True, True),
        ("53400", "resources", True, True),
        ("55P03", "conflict", False, False),
        ("57000", "does not carry out statements", True, True),
        ("57014", "cancelled a statement", True, False),
        ("57P01", "starting, stopping or recovering", True, False),
        ("57P02", "starting, stopping or recovering", True, False),
        ("57P03", "starting, stopping or recovering", True, False),
        ("57P04", "does not carry out statements", True, True),
        ("57P05", "closed an idle connection", True, False),
        ("58000", "disk or operating system", True, True),
        ("58030", "disk or operating system", True, True),
        ("58P01", "disk or operating system", True, True),
    ],
)
def test_sqlstate_of_a_temporary_error_selects_its_failure(
    sqlstate: str, reason: str, drop: bool, outage: bool
) -> None:
    """Proves R-FAIL-18: errors with these codes are temporary. The code selects the reason, `drop` and `outage`."""
    failure = classify(server_error(sqlstate))
    assert failure is not None
    assert reason in failure.reason
    assert (failure.drop, failure.outage) == (drop, outage)


@pytest.mark.parametrize(
    "sqlstate", ["0A000", "22003", "23505", "23503", "25001", "25P02", "42601", "42P01", "XX000"]
)
def test_other_sqlstates_are_not_temporary(sqlstate: str) -> None:
    """Proves R-FAIL-18: a caller's data, a wrong statement and a defect are not reported as unavailable."""
    assert classify(server_error(sqlstate)) is None


@pytest.mark.parametrize("sqlstate", ["28P01", "28000", "3D000", "53300", "57P03"])
def test_every_error_of_a_new_connection_counts_as_temporary(sqlstate: str) -> None:
    """Such an error ends when the server or a setting, such as a password, is corrected. Proves R-FAIL-18."""
    assert classify(server_error(sqlstate), connecting=True) is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "did not answer in time"),
        (ConnectionRefusedError(), "is not reachable"),
        (EOFError(), "is not reachable"),
        (asyncpg.InterfaceError("connection is closed"), "is not reachable"),
        (asyncpg.InternalClientError("unexpected state"), "is not reachable"),
        (asyncpg.TargetServerAttributeNotMatched("none"), "target_session_attrs"),
    ],
)
def test_errors_without_a_sqlstate_count_as_temporary(error: Exception, reason: str) -> None:
    """The client has raised these errors itself, so they have no code of the server. Proves R-FAIL-18."""
    failure = classify(error)
    assert isinstance(failure, Failure)
    assert reason in failure.reason


def test_defects_of_the_service_are_no_failures_of_postgresql() -> None:
    """Proves R-FAIL-18: a defect of the service is not reported as unavailable."""
    assert classify(KeyError("x")) is None
    assert classify(ValueError("x")) is None
