"""The duration of an outage: the time in which a backup task makes no progress, because a server is not reachable."""

from svgx_state.backups.runner import LONGEST_OUTAGE_SECONDS, RECOVERY_SECONDS, Outage


def test_outage_lasts_from_the_first_failure_of_attempts_without_progress() -> None:
    """Proves R-BACKUP-12: the time before the first failure does not count, because the task made progress."""
    outage = Outage()
    outage.begin_attempt(0.0)
    assert outage.fail_attempt(7200.0) == 0.0
    for now in (7202.0, 7500.0, 7202.0 + LONGEST_OUTAGE_SECONDS):
        outage.begin_attempt(now)
        assert outage.fail_attempt(now + 1.0) == now + 1.0 - 7200.0


def test_attempt_that_made_progress_ends_the_outage() -> None:
    """Proves R-BACKUP-12: a later outage counts from its own first failure."""
    outage = Outage()
    outage.begin_attempt(0.0)
    assert outage.fail_attempt(1.0) == 0.0
    outage.begin_attempt(3.0)
    assert outage.fail_attempt(3.0 + RECOVERY_SECONDS) == 0.0
    outage.begin_attempt(5.0 + RECOVERY_SECONDS)
    assert outage.fail_attempt(6.0 + RECOVERY_SECONDS) == 3.0


def test_long_attempts_that_fail_at_the_same_object_are_one_outage() -> None:
    """Proves R-BACKUP-12: a verification of many objects ends, although one of them can never be read."""
    outage = Outage()
    outage.begin_attempt(0.0)
    assert outage.fail_attempt(3600.0, "cannot read b/1") == 0.0
    outage.begin_attempt(3602.0)
    assert outage.fail_attempt(7200.0, "cannot read b/1") == 3600.0
    outage.begin_attempt(7202.0)
    assert outage.fail_attempt(10800.0, "cannot read b/2") == 0.0
