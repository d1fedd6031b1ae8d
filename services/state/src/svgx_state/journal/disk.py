"""The disk space of the journal, and a forecast of the time at which the disk is full."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from svgx_common.postgres import Database
from svgx_state.journal import metrics

PERIOD_SECONDS = 300.0
"""Seconds between two measurements."""

FULL_DAYS = 7
"""Number of full days before today. The journal's growth for a day is the mean size of these days."""

MAX_FORECAST_DAYS = 3650
"""Largest number of days in the forecast. A later time is reported as this number of days."""


class DiskUse:
    """Sets the metrics of the disk space. `disk_bytes` is the size that the database may have, or 0 for no forecast."""

    def __init__(self, database: Database, *, retention_days: int, disk_bytes: float) -> None:
        self._database = database
        self._retention_days = retention_days
        self._disk_bytes = disk_bytes

    async def measure_and_wait(self) -> None:
        """Measure, and wait until the next measurement. This is a step to repeat in the background."""
        await self.measure(datetime.now(UTC))
        await asyncio.sleep(PERIOD_SECONDS)

    async def measure(self, now: datetime) -> None:
        """Set the metrics of the disk space."""
        use = await self._database.row("disk_use")
        assert use is not None
        days: dict[date, int] = {
            row["day"]: row["bytes"] for row in await self._database.rows("journal_day_bytes")
        }
        today = now.astimezone(UTC).date()
        journal = sum(days.values())
        bytes_a_day = growth(days, today)
        metrics.DATABASE_BYTES.set(use["database"])
        metrics.SNAPSHOT_DISK_BYTES.set(use["snapshots"])
        metrics.JOURNAL_DISK_BYTES.set(journal)
        metrics.DAY_BYTES.set(bytes_a_day)
        metrics.DAYS.set(len(days))
        oldest = datetime.combine(min(days, default=today), time(), UTC)
        metrics.OLDEST_DAY.set(max(0.0, (now - oldest).total_seconds()))
        if self._disk_bytes:
            # Snapshots grow with the journal, and are deleted with it.
            share = 1 + use["snapshots"] / max(journal, 1)
            days_left = days_until_full(
                self._disk_bytes - use["database"],
                {day: size * share for day, size in days.items()},
                bytes_a_day * share,
                today,
                self._retention_days,
            )
            metrics.DISK_FULL.set(days_left * 86400)


def growth(days: Mapping[date, int], today: date) -> float:
    """Return the bytes that the journal takes for a day: the mean of the last full days.

    Without a full day, return the bytes of today. `days` has the bytes of each day of the journal.
    """
    full = [
        days.get(today - timedelta(days=back), 0)
        for back in range(1, FULL_DAYS + 1)
        if any(day <= today - timedelta(days=back) for day in days)
    ]
    return sum(full) / len(full) if full else float(days.get(today, 0))


def days_until_full(
    free: float, days: Mapping[date, float], bytes_a_day: float, today: date, retention_days: int
) -> float:
    """Return the days until `free` bytes are used, at most `MAX_FORECAST_DAYS`.

    `days` has the bytes of each stored day, and each further day takes `bytes_a_day` bytes. After `retention_days`, the
    bytes of a day are free again; 0 days keep the bytes without end.
    """
    if free <= 0:
        return 0.0
    for ahead in range(MAX_FORECAST_DAYS):
        dropped = today + timedelta(days=ahead - retention_days - 1)
        if retention_days and ahead:
            free += days.get(dropped, bytes_a_day if dropped >= today else 0.0)
        if bytes_a_day >= free:
            return ahead + free / bytes_a_day
        free -= bytes_a_day
    return float(MAX_FORECAST_DAYS)
