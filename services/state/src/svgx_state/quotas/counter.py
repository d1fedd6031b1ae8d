"""The counts of journal bytes by account and by canvas. They are summed in memory, and stored every few seconds."""

import asyncio
import contextlib
from collections import Counter
from datetime import date

from svgx_common.contract.errors import SvgxError
from svgx_common.contract.state import Entry
from svgx_common.contract.storage.quotas import (
    NEAR_SHARE,
    QUOTAS_CHANGED,
    CanvasUse,
    QuotaReport,
    Quotas,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import VISITOR_PREFIX
from svgx_common.postgres import Database, Row
from svgx_state.present import today
from svgx_state.quotas import metrics
from svgx_state.quotas.bounds import StoredQuotas

STORE_NOW_BYTES = 4 * 1024 * 1024
"""Number of counted bytes of one account or canvas at which all counts are stored at once.

Otherwise, they are stored every `flush_seconds`. So a flood is noticed within its first megabytes.
"""

USAGE_DAYS = 31
"""Age in days up to which the counts are kept."""


def shares(entry: Entry) -> dict[str, int]:
    """Return the bytes of an entry by author. The shares add up to the bytes of the entry.

    Each author's share is in proportion to the bytes that the author sent. If the entry lacks these numbers, all shares
    are equal.
    """
    size = len(entry.update)
    if len(entry.authors) == 1:
        return {entry.authors[0]: size}
    sent = entry.author_bytes
    if len(sent) != len(entry.authors) or not sum(sent):
        sent = (1,) * len(entry.authors)
    total, counted, start = sum(sent), Counter[str](), 0
    for author, part in zip(entry.authors, sent, strict=True):
        end = start + part
        counted[author] += size * end // total - size * start // total
        start = end
    return dict(counted)


class UsageCounter:
    """The counter of one replica. A crash of the replica loses the counts of the last seconds.

    `_visitors` has the bytes by share link and canvas. These bytes count towards the account that created the link.
    """

    def __init__(
        self, bus: Bus, database: Database, stored: StoredQuotas, *, flush_seconds: float
    ) -> None:
        self._bus = bus
        self._database = database
        self._stored = stored
        self._flush_seconds = flush_seconds
        self._accounts = Counter[str]()
        self._canvases = Counter[str]()
        self._visitors = Counter[tuple[str, str]]()
        self._has_counts = asyncio.Event()
        self._store_now = asyncio.Event()
        self._old_usage_dropped_on: date | None = None
        self._storing: asyncio.Task[None] | None = None
        metrics.QUOTA_UNSTORED_BYTES.set_function(self._unstored_bytes)

    def count(self, entry: Entry) -> None:
        """Count an entry that was committed."""
        size = len(entry.update)
        largest = self._canvases[entry.canvas_id] = self._canvases[entry.canvas_id] + size
        for author, part in shares(entry).items():
            user_id = author.replace("\x00", "") if "\x00" in author else author
            if user_id.startswith(VISITOR_PREFIX):
                self._visitors[user_id.removeprefix(VISITOR_PREFIX), entry.canvas_id] += part
                continue
            used = self._accounts[user_id] = self._accounts[user_id] + part
            largest = max(largest, used)
        self._has_counts.set()
        if largest >= STORE_NOW_BYTES:
            self._store_now.set()

    async def flush_later(self) -> None:
        """Wait for a count, then for `flush_seconds` or until many bytes are counted. Then store the counts."""
        await self._has_counts.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._flush_seconds):
                await self._store_now.wait()
        await self.flush()

    async def flush(self) -> None:
        """Store the counts as `_store` does. If the caller is cancelled, `_store` still runs to its end.

        If `_store` were interrupted after PostgreSQL has stored the counts, their bytes would count twice.
        """
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store())
        await asyncio.shield(self._storing)

    async def close(self) -> None:
        """Store the counts of the last seconds. They are lost if this fails."""
        if self._storing is not None:
            await asyncio.wait({self._storing})
        with contextlib.suppress(SvgxError):
            await self._store()

    async def _store(self) -> None:
        """Store the counts, and announce the accounts and canvases that are near to a bound. Raises `Unavailable`.

        After a failure the counts are kept for the next call. If PostgreSQL has stored the counts and its answer was
        lost, their bytes count twice.
        """
        self._has_counts.clear()
        self._store_now.clear()
        accounts, self._accounts = self._accounts, Counter()
        canvases, self._canvases = self._canvases, Counter()
        visitors, self._visitors = self._visitors, Counter()
        if not canvases:
            return
        try:
            async with self._database.session() as session:
                day = await today(session)
                rows = await session.rows(
                    "add_usage",
                    day,
                    list(accounts),
                    list(accounts.values()),
                    list(canvases),
                    list(canvases.values()),
                    [link_id for link_id, _ in visitors],
                    [canvas_id for _, canvas_id in visitors],
                    list(visitors.values()),
                )
                quotas = await self._stored.in_force_within(session)
        except Exception:
            self._accounts.update(accounts)
            self._canvases.update(canvases)
            self._visitors.update(visitors)
            self._has_counts.set()
            raise
        report = _report(quotas, day, _Thresholds(quotas), rows)
        if report.accounts or report.canvases:
            await self._bus.broadcast(QUOTAS_CHANGED, report)
        await self._drop_old(day)

    async def report(self) -> QuotaReport:
        """Return the quotas in force, and the accounts and canvases that are near to a bound.

        Of these, the report has all accounts and canvases with bounds of their own, and the largest of the others.
        """
        async with self._database.session() as session:
            day = await today(session)
            quotas = await self._stored.in_force_within(session)
            thresholds = _Thresholds(quotas)
            rows = await session.rows(
                "large_use",
                day,
                thresholds.account,
                thresholds.canvas,
                thresholds.content,
                metrics.MAX_NAMED,
                list(thresholds.of_accounts),
                list(thresholds.of_canvases),
            )
        report = _report(quotas, day, thresholds, rows)
        metrics.QUOTA_NEAR.labels("account").set(len(report.accounts))
        metrics.QUOTA_NEAR.labels("canvas").set(len(report.canvases))
        return report

    def _unstored_bytes(self) -> int:
        return self._canvases.total()

    async def _drop_old(self, day: date) -> None:
        if self._old_usage_dropped_on != day:
            oldest = date.fromordinal(day.toordinal() - USAGE_DAYS)
            await self._database.run("drop_old_usage", oldest)
            self._old_usage_dropped_on = day


class _Thresholds:
    """The least bytes with which accounts and canvases are near to a bound: the share `NEAR_SHARE` of their bounds.

    For an account without a bound of its own, the lowest bound of a role counts, because only the auth service knows
    the account's role.
    """

    def __init__(self, quotas: Quotas) -> None:
        self.account = _near(quotas.lowest_role_bytes())
        self.canvas = _near(quotas.canvas.journal_bytes_per_day)
        self.content = _near(quotas.canvas.content_bytes)
        self.of_accounts = {
            user_id: _near(bounds.journal_bytes_per_day)
            for user_id, bounds in quotas.users.items()
            if bounds.journal_bytes_per_day is not None
        }
        of_canvases = {canvas_id: quotas.of_canvas(canvas_id) for canvas_id in quotas.canvases}
        self.of_canvases = {
            canvas_id: (_near(bounds.journal_bytes_per_day), _near(bounds.content_bytes))
            for canvas_id, bounds in of_canvases.items()
        }

    def reaches(self, row: Row) -> bool:
        """Return whether the account or canvas of a row is near to a bound."""
        if row["is_account"]:
            threshold = self.of_accounts.get(row["id"], self.account)
            return bool(row["journal_bytes"] >= threshold)
        canvas, content = self.of_canvases.get(row["id"], (self.canvas, self.content))
        return bool(row["journal_bytes"] >= canvas or row["content_bytes"] >= content)


def _near(bound: int | None) -> int:
    """Return the bytes that are near to a bound. The quotas in force have all bounds, so None does not occur."""
    return int(NEAR_SHARE * (bound or 0))


def _report(quotas: Quotas, day: date, thresholds: _Thresholds, rows: list[Row]) -> QuotaReport:
    """Return the report of the rows that are near to a bound."""
    near = [row for row in rows if thresholds.reaches(row)]
    return QuotaReport(
        quotas=quotas,
        day=day,
        accounts={row["id"]: row["journal_bytes"] for row in near if row["is_account"]},
        canvases={
            row["id"]: CanvasUse(
                journal_bytes=row["journal_bytes"], content_bytes=row["content_bytes"]
            )
            for row in near
            if not row["is_account"]
        },
    )
