"""The pauses between the runs of the retention."""

from typing import cast

from svgx_common.postgres import Database
from svgx_state.journal.retention import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    PERIOD_SECONDS,
    Retention,
)
from svgx_state.snapshots import Compactor


def test_pause_after_a_failure_doubles_until_a_run_succeeds() -> None:
    """After failures, pauses grow from `FIRST_RETRY_SECONDS` to `LONGEST_RETRY_SECONDS` at most.

    After a success, the pause is `PERIOD_SECONDS`.
    """
    retention = Retention(cast(Database, None), cast(Compactor, None), days=1)
    outcomes = [*[False] * 10, True, False]
    pauses = [retention.pause_after(succeeded=each) for each in outcomes]
    assert pauses[:3] == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
    assert pauses[9:] == [LONGEST_RETRY_SECONDS, PERIOD_SECONDS, FIRST_RETRY_SECONDS]
