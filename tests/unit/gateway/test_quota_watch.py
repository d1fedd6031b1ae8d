"""The gateway's copy of the quotas: the use that limits a caller, and the end of a day."""

from datetime import UTC, date, datetime
from typing import Any, cast

import pytest

from svgx_common.contract.errors import QuotaExceeded, QuotaFull
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.quotas import (
    AccountBounds,
    CanvasBounds,
    CanvasUse,
    QuotaName,
    QuotaReport,
    Quotas,
    QuotaStatus,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.quotas.watch import QuotaWatch

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEXT_DAY = datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC)
ANN = Caller("ann", "ann", Role.EDITOR, "session")
QUOTAS = Quotas(
    account=AccountBounds(journal_bytes_per_day=1000),
    canvas=CanvasBounds(journal_bytes_per_day=5000, content_bytes=2000),
    roles={Role.ADMIN: AccountBounds(journal_bytes_per_day=10_000)},
)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


def report(
    accounts: dict[str, int] | None = None,
    canvases: dict[str, tuple[int, int]] | None = None,
    *,
    day: date = DAY,
    quotas: Quotas = QUOTAS,
) -> QuotaReport:
    """Return a report. `canvases` has the bytes of the journal and of the content of each canvas."""
    return QuotaReport(
        quotas=quotas,
        day=day,
        accounts=accounts or {},
        canvases={
            canvas_id: CanvasUse(journal_bytes=journal, content_bytes=content)
            for canvas_id, (journal, content) in (canvases or {}).items()
        },
    )


def watch(clock: Clock | None = None) -> QuotaWatch:
    """Return an empty copy of the quotas, without a bus."""
    return QuotaWatch(cast(Bus, cast(Any, None)), clock or Clock())


def test_accounts_are_not_limited_before_the_first_report() -> None:
    """Without a report nothing is refused. Proves R-QUOTA-2."""
    QuotaEnforcement(watch()).require_space(ANN, "canvas")


@pytest.mark.parametrize(
    ("used", "status"),
    [
        (799, None),
        (800, QuotaStatus.NEAR),
        (899, QuotaStatus.NEAR),
        (900, QuotaStatus.SLOWED),
        (999, QuotaStatus.SLOWED),
        (1000, QuotaStatus.OVER),
    ],
)
def test_status_of_an_account_follows_its_use(used: int, status: QuotaStatus | None) -> None:
    """A client gets a notice at 80 %, is slowed at 90 %, and is refused at the bound. Proves R-QUOTA-3."""
    copy = watch()
    copy.adopt(report({"ann": used}))
    use = copy.most_used(ANN, "canvas")
    assert (use and use.status) == status
    assert copy.most_used(Caller("ann", "ann", Role.ADMIN, "s")) is None
    assert copy.most_used(Caller("bob", "bob", Role.EDITOR, "s"), "canvas") is None


@pytest.mark.parametrize(
    ("canvas", "name"),
    [
        ((5000, 0), QuotaName.CANVAS_JOURNAL),
        ((0, 2000), QuotaName.CANVAS_CONTENT),
        ((4000, 1000), QuotaName.ACCOUNT_JOURNAL),
        ((0, 0), QuotaName.ACCOUNT_JOURNAL),
    ],
)
def test_caller_gets_the_status_of_the_most_used_quota(
    canvas: tuple[int, int], name: QuotaName
) -> None:
    """Of the bounds of the account and of the canvas, the one that is most used counts. Proves R-QUOTA-3."""
    copy = watch()
    copy.adopt(report({"ann": 950}, {"canvas": canvas}))
    use = copy.most_used(ANN, "canvas")
    assert use is not None
    assert use.name is name


def test_bytes_of_a_day_are_forgotten_at_midnight_and_content_is_not() -> None:
    """An account may edit again at midnight (UTC); a full canvas stays full. Proves R-QUOTA-2."""
    clock = Clock()
    copy = watch(clock)
    copy.adopt(report({"ann": 1000}, {"full": (9000, 2000), "busy": (9000, 0)}))
    quotas = QuotaEnforcement(copy)
    with pytest.raises(QuotaExceeded) as error:
        quotas.require_space(ANN, "busy")
    assert error.value.retry_after == 12 * 3600
    clock.now = NEXT_DAY
    quotas.require_space(ANN, "busy")
    with pytest.raises(QuotaFull):
        quotas.require_space(ANN, "full")
    copy.merge(report({"bob": 900}, day=NEXT_DAY.date()))
    copy.merge(report({"ann": 1000}))  # a late report of the day before
    quotas.require_space(ANN, "busy")
    with pytest.raises(QuotaFull):
        quotas.require_space(ANN, "full")


def test_late_report_lowers_no_count() -> None:
    """The bytes of a day only grow, and an older version of the bounds is ignored. Proves R-QUOTA-2."""
    copy = watch()
    copy.adopt(report({"ann": 1000}, quotas=QUOTAS.model_copy(update={"version": 2})))
    higher = Quotas(version=1, account=AccountBounds(journal_bytes_per_day=9999))
    copy.merge(report({"ann": 900}, quotas=higher))
    use = copy.most_used(ANN)
    assert use is not None
    assert (use.used, use.limit) == (1000, 1000)


@pytest.mark.parametrize(
    ("update", "refused"),
    [(b"\x01\x01\x05", True), (b"\x00\x01\x05\x01\x00\x01", False), (b"\x00\x00", False)],
    ids=["insertion", "deletion", "empty"],
)
def test_deletions_are_accepted_beyond_a_bound(update: bytes, refused: bool) -> None:
    """A deletion frees space, and a client without new edits is not refused. Proves R-QUOTA-3."""
    copy = watch()
    copy.adopt(report(canvases={"canvas": (0, 2000)}))
    assert (QuotaEnforcement(copy).refusal(ANN, "canvas", update) is not None) == refused


async def test_slowed_account_waits_and_another_does_not() -> None:
    """From 90 % on, edits wait, because the account may send only `SLOW_BYTES_PER_SECOND`. Proves R-QUOTA-3."""
    copy = watch()
    copy.adopt(report({"ann": 900}))
    quotas = QuotaEnforcement(copy)
    await quotas.slow_down(ANN, "canvas", bytes(70_000))
    waiting = quotas.slow_down(ANN, "canvas", b"x")
    with pytest.raises(StopAsyncIteration):
        await _raise_if_waiting(waiting)
    await quotas.slow_down(Caller("bob", "bob", Role.EDITOR, "s"), "canvas", bytes(10**9))


async def _raise_if_waiting(coroutine: Any) -> None:
    """Raise `StopAsyncIteration` if the coroutine waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise StopAsyncIteration


@pytest.mark.parametrize(
    ("bounds", "name"),
    [
        ({"account": {"journal_bytes_per_day": 0}}, QuotaName.ACCOUNT_JOURNAL),
        ({"roles": {"editor": {"journal_bytes_per_day": 0}}}, QuotaName.ACCOUNT_JOURNAL),
        ({"users": {"ann": {"journal_bytes_per_day": 0}}}, QuotaName.ACCOUNT_JOURNAL),
        ({"canvas": {"journal_bytes_per_day": 0}}, QuotaName.CANVAS_JOURNAL),
        ({"canvas": {"content_bytes": 0}}, QuotaName.CANVAS_CONTENT),
        ({"canvases": {"canvas": {"journal_bytes_per_day": 0}}}, QuotaName.CANVAS_JOURNAL),
        ({"canvases": {"canvas": {"content_bytes": 0}}}, QuotaName.CANVAS_CONTENT),
        ({"roles": {"viewer": {"journal_bytes_per_day": 0}}}, None),
        ({"users": {"bob": {"journal_bytes_per_day": 0}}}, None),
        ({"canvases": {"other": {"content_bytes": 0}}}, None),
        (
            {
                "roles": {"editor": {"journal_bytes_per_day": 0}},
                "users": {"ann": {"journal_bytes_per_day": 1}},
            },
            None,
        ),
    ],
)
@pytest.mark.parametrize("now", [NOON, NEXT_DAY], ids=["on the day", "after midnight"])
def test_bound_of_zero_refuses_edits_without_any_use(
    bounds: dict[str, Any], name: QuotaName | None, now: datetime
) -> None:
    """Proves R-QUOTA-5: a bound of 0 allows nothing, also before the first bytes of a day and without a new report."""
    clock = Clock()
    copy = watch(clock)
    copy.merge(report(quotas=Quotas.model_validate(bounds)))
    clock.now = now
    refused = QuotaEnforcement(copy).refusal(ANN, "canvas", b"\x01\x01\x05")
    assert (refused and refused.name) == name


@pytest.mark.parametrize(
    ("creator", "used", "status"),
    [
        ("ann", 799, None),
        ("ann", 900, QuotaStatus.SLOWED),
        ("ann", 1000, QuotaStatus.OVER),
        (None, 1000, None),
    ],
)
def test_visitor_is_limited_by_the_account_that_created_the_link(
    creator: str | None, used: int, status: QuotaStatus | None
) -> None:
    """Proves R-QUOTA-2: visitors of every link get the status of the account that created the link."""
    quotas = watch()
    quotas.adopt(report({"ann": used}))
    for link in ("one", "two"):
        use = quotas.most_used(Caller.of_link(link, creator), "canvas")
        assert (use and use.status) == status


def test_visitor_of_an_admins_link_has_the_bound_of_an_editor() -> None:
    """Proves R-QUOTA-2: an editor's bound applies, because the gateway does not know the creator's role."""
    quotas = watch()
    quotas.adopt(report({"root": 1000}))
    assert quotas.most_used(Caller("root", "root", Role.ADMIN, "session")) is None
    use = quotas.most_used(Caller.of_link("one", "root"))
    assert use is not None
    assert (use.status, use.limit) == (QuotaStatus.OVER, 1000)
