"""Repeatable operations: quick reads, and the writes that change nothing the second time."""

from svgx_common.contract import OPERATIONS, auth, collab, ratelimits, state
from svgx_common.contract.live import locks, undo
from svgx_common.contract.policy import Pool, RateClass
from svgx_common.contract.storage import values

REPEATABLE_WRITES = {auth.REFRESH.name}
"""The writes of clients that may be sent again."""

OUTSIDE_READS = {
    values.RETRIEVE_VALUE.name,
    values.LIST_VALUES.name,
    locks.LOCK_STATUS.name,
    undo.UNDO_STATUS.name,
    ratelimits.ANALYTICS.name,
}
"""The repeatable operations in the pool `OUTSIDE`: quick reads, because each wait for Redis ends after a second."""


def test_expensive_operation_is_not_repeatable() -> None:
    """Proves R-RESIL-4: a slow export is not started a second time while the first one runs."""
    assert not state.EXPORT.repeatable
    quick = (Pool.QUICK, Pool.INTERNAL, Pool.ASKING)
    repeated = {op.name for op in OPERATIONS if op.repeatable and op.pool not in quick}
    assert repeated == OUTSIDE_READS


def test_write_is_not_repeatable_unless_it_changes_nothing() -> None:
    """Proves R-RESIL-4: of all client requests that are not reads, only a refresh is sent again."""
    writes = {
        op.name
        for op in OPERATIONS
        if op.repeatable
        and (op.rate is RateClass.WRITE or (op.http is not None and op.http.method != "GET"))
    }
    assert writes == REPEATABLE_WRITES


def test_lookup_of_accounts_is_repeatable() -> None:
    """Proves R-FAIL-21: a change of a canvas's members succeeds although one replica of auth is frozen."""
    assert auth.FIND_ACCOUNTS.repeatable


def test_request_to_open_a_canvas_is_repeatable() -> None:
    """Proves R-FAIL-21: a canvas is opened although the request goes to a frozen replica first."""
    assert collab.OPEN.repeatable


def test_commit_is_repeated_only_by_the_journal() -> None:
    """Proves R-RESIL-4: if the bus repeated commits too, repetitions would multiply the work of a slow database."""
    assert not state.JOURNAL_APPEND.repeatable
