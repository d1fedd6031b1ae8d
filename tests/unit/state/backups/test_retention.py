"""The backups that the retention deletes."""

from datetime import UTC, datetime, timedelta

import pytest

from svgx_state.backups.deletion import BackupFacts, Retention, expired_ids

NOW = datetime(2026, 6, 30, tzinfo=UTC)


def _backups(*texts: str) -> list[BackupFacts]:
    """Return backups, newest first, from texts such as `b2@users<b1 5d failed`: id, scope, parent, age and status.

    The status `adopted` stands for a complete backup that was adopted, and `failed manifest` for a failed backup with a
    manifest at the target.
    """
    backups = []
    for text in texts:
        names, age, *status = text.split()
        name, _, parent = names.partition("<")
        scope = name.partition("@")[2]
        at = NOW - timedelta(days=float(age.removesuffix("d")))
        adopted = status == ["adopted"]
        backups.append(
            BackupFacts(
                name.partition("@")[0],
                parent or None,
                status[0] if status and not adopted else "complete",
                at,
                scope,
                adopted,
                has_manifest="manifest" in status,
            )
        )
    return backups


@pytest.mark.parametrize(
    ("backups", "count", "days", "deleted"),
    [
        (["c 1d", "b 2d", "a 3d"], 0, 0, []),
        (["c 1d", "b 2d", "a 3d"], 2, 0, ["a"]),
        (["c 1d", "b 2d", "a 3d"], 0, 2, ["a"]),
        (["c 1d", "b 2d", "a 3d"], 1, 2, ["a"]),
        (["c 90d", "b 91d"], 0, 2, ["b"]),
        (["c<b 1d", "b<a 2d", "a 3d"], 1, 0, []),
        (["d 1d", "c<b 2d", "b<a 3d", "a 4d"], 1, 0, ["c", "b", "a"]),
        (["d 1d", "c<a 2d", "b<a 3d", "a 4d"], 2, 0, ["b"]),
        (["c<a 0d running", "b 1d", "a 9d"], 1, 0, []),
        (["c 0d failed", "b 1d", "a 2d"], 1, 0, ["a"]),
        (["c 2d failed", "b 3d", "a 4d"], 1, 0, ["c", "a"]),
        (["c<a 2d failed", "b 3d", "a 4d"], 1, 0, ["c", "a"]),
        (["e 1d", "d<c 2d failed manifest", "c<b 3d", "b 4d", "a 5d"], 1, 0, ["a"]),
        (["b 1d deleting", "a 2d"], 1, 0, []),
        ([], 1, 1, []),
        # Backups of users do not count as newer backups of the canvases.
        (["d@users 1d", "c@users 2d", "b 3d", "a 4d"], 1, 0, ["c", "a"]),
        (["d@users 1d", "c@users 2d", "b 3d", "a 4d"], 2, 0, []),
        # Backups of another installation are neither deleted nor counted.
        (["d 1d adopted", "c 2d", "b 3d adopted", "a 4d"], 1, 0, ["a"]),
        (["c 90d adopted", "b 91d", "a 92d"], 0, 2, ["a"]),
        (["c 1d", "b<a 2d adopted", "a 3d"], 1, 0, []),
    ],
)
def test_retention_keeps_the_newest_backups_and_the_backups_that_they_need(
    backups: list[str], count: int, days: int, deleted: list[str]
) -> None:
    """A backup is deleted after all backups that build on it, and never while a kept backup needs it.

    Proves R-BACKUP-5.
    """
    assert expired_ids(_backups(*backups), Retention(count, days), NOW) == deleted
