"""The gateway's copy of the quotas, and of the use of each account and canvas near a quota."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from svgx_common.contract.policy import Role
from svgx_common.contract.storage.quotas import (
    QUOTA_REPORT,
    QUOTAS_CHANGED,
    CanvasBounds,
    CanvasUse,
    QuotaName,
    QuotaReport,
    Quotas,
    QuotasRequest,
    QuotaStatus,
    Use,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.watched_copy import WatchedCopy

_ORDER = list(QuotaStatus)


class QuotaWatch:
    """The use of each account and canvas near a quota, from the reports of the state service.

    An account or canvas that no report names counts as below 80 % of its quotas, unless a quota is 0. Before the first
    report, nothing is refused, because editing must not depend on the answers of the state service.
    """

    def __init__(self, bus: Bus, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._bus = bus
        self._clock = clock
        self._quotas = Quotas()
        self._zero = _ZeroBounds.of(self._quotas)
        self._day = date.min
        self._accounts: dict[str, int] = {}
        self._canvases: dict[str, CanvasUse] = {}
        self._since_read: list[QuotaReport] = []
        self._on_change: list[Callable[[], None]] = []
        self._copy = WatchedCopy(
            "quotas",
            bus,
            self._read,
            subject=QUOTAS_CHANGED.subject,
            on_broadcast=self._on_broadcast,
        )

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each report."""
        self._on_change.append(callback)

    async def start(self) -> None:
        """Keep the copy current until `stop`."""
        await self._copy.start()

    async def stop(self) -> None:
        """Stop reading. The last known quotas and uses stay in force."""
        await self._copy.stop()

    def adopt(self, report: QuotaReport) -> None:
        """Replace the copy by a complete report."""
        self._set_quotas(report.quotas)
        self._day = report.day
        self._accounts = dict(report.accounts)
        self._canvases = dict(report.canvases)
        self._changed()

    def merge(self, report: QuotaReport) -> None:
        """Add a report on some accounts and canvases.

        Of two counts for a day, keep the larger, because counts only grow.
        """
        if report.day < self._day:
            return
        if report.day > self._day:
            self._day = report.day
            self._accounts.clear()
            self._canvases = {
                canvas_id: use.model_copy(update={"journal_bytes": 0})
                for canvas_id, use in self._canvases.items()
            }
        if report.quotas.version >= self._quotas.version:
            self._set_quotas(report.quotas)
        for user_id, used in report.accounts.items():
            self._accounts[user_id] = max(used, self._accounts.get(user_id, 0))
        for canvas_id, use in report.canvases.items():
            before = self._canvases.get(canvas_id, CanvasUse()).journal_bytes
            journal_bytes = max(use.journal_bytes, before)
            self._canvases[canvas_id] = use.model_copy(update={"journal_bytes": journal_bytes})
        self._changed()

    def most_used(self, caller: Caller, canvas_id: str | None = None) -> Use | None:
        """Return the use of the account's or canvas's quota that limits the caller most.

        Return None when all uses are below 80 % of their quotas.
        """
        # Return early, because this runs for each edit, and nearly all accounts and canvases are in no report.
        account, role = caller.charged_account
        if (
            account not in self._accounts
            and canvas_id not in self._canvases
            and not self._zero.may_apply(account, role, canvas_id)
        ):
            return None
        uses = [
            each for each in self._uses(caller, canvas_id) if each.status is not QuotaStatus.BELOW
        ]
        return max(uses, key=_rank, default=None)

    def seconds_until(self, moment: datetime) -> int:
        """Return the seconds until a time, rounded up, and at least 1."""
        return max(1, math.ceil((moment - self._clock()).total_seconds()))

    def _uses(self, caller: Caller, canvas_id: str | None) -> list[Use]:
        now = self._clock()
        is_today = now.date() == self._day
        ends = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        uses: list[Use] = []

        def add(name: QuotaName, used: int, limit: int | None, resets: datetime | None) -> None:
            if limit is not None:
                uses.append(Use.of(name, used, limit, resets))

        # A use that no report names counts as 0, which is below every bound except 0.
        account, role = caller.charged_account
        used = self._accounts.get(account, 0) if is_today else 0
        bound = self._quotas.of_account(account, role).journal_bytes_per_day
        add(QuotaName.ACCOUNT_JOURNAL, used, bound, ends)
        if canvas_id is not None:
            use = self._canvases.get(canvas_id, CanvasUse())
            bounds = self._quotas.of_canvas(canvas_id)
            used = use.journal_bytes if is_today else 0
            add(QuotaName.CANVAS_JOURNAL, used, bounds.journal_bytes_per_day, ends)
            add(QuotaName.CANVAS_CONTENT, use.content_bytes, bounds.content_bytes, None)
        return uses

    def _set_quotas(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._zero = _ZeroBounds.of(quotas)

    def _changed(self) -> None:
        for callback in self._on_change:
            callback()

    async def _read(self) -> None:
        self._since_read.clear()
        report = await self._bus.ask(QUOTA_REPORT, QuotasRequest())
        self.adopt(report)
        # Reports that were broadcast during the request may be newer than the answer.
        for later in self._since_read:
            self.merge(later)

    async def _on_broadcast(self, _: str, content: bytes) -> None:
        report = QuotaReport.model_validate_json(content)
        self._since_read.append(report)
        self.merge(report)


@dataclass(frozen=True, slots=True)
class _ZeroBounds:
    """The bounds of 0, which apply even to an account or canvas that no report names."""

    ids: frozenset[str]
    """The accounts and canvases with a bound of 0 of their own."""
    roles: frozenset[Role]
    all_canvases: bool

    @classmethod
    def of(cls, quotas: Quotas) -> Self:
        """Return the bounds of 0 among the quotas."""
        accounts = (
            user_id for user_id, bounds in quotas.users.items() if bounds.journal_bytes_per_day == 0
        )
        canvases = (canvas_id for canvas_id, bounds in quotas.canvases.items() if _has_zero(bounds))
        return cls(
            ids=frozenset((*accounts, *canvases)),
            roles=frozenset(
                role for role in Role if quotas.of_role(role).journal_bytes_per_day == 0
            ),
            all_canvases=_has_zero(quotas.canvas),
        )

    def may_apply(self, account: str, role: Role, canvas_id: str | None) -> bool:
        """Return whether a bound of 0 is set for the account, its role, or the canvas.

        The result may be true for an account or canvas with a higher bound of its own, which replaces the 0 of its role
        or of all canvases.
        """
        return (
            role in self.roles
            or account in self.ids
            or canvas_id in self.ids
            or (self.all_canvases and canvas_id is not None)
        )


def _has_zero(bounds: CanvasBounds) -> bool:
    return 0 in (bounds.journal_bytes_per_day, bounds.content_bytes)


def _rank(use: Use) -> tuple[int, float]:
    return _ORDER.index(use.status), use.used / max(1, use.limit)
