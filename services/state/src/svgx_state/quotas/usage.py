"""The use of quotas by one account and one canvas, and the check before an account gets one more canvas.

The quotas in force have all bounds. The type `Quotas` also describes stored quotas, which may lack some bounds. So
`or 0` is here for the type checker only.
"""

import math
from datetime import UTC, date, datetime, time, timedelta

from svgx_common.contract.errors import QuotaExceeded, QuotaFull
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.quotas import (
    AccountUsage,
    CanvasUsage,
    QuotaName,
    Quotas,
    QuotaStatus,
    Use,
)
from svgx_common.messaging.caller import Caller
from svgx_common.postgres import Row, Session
from svgx_state.permissions import no_such_canvas
from svgx_state.present import present, today
from svgx_state.quotas import metrics
from svgx_state.quotas.bounds import StoredQuotas


def end_of_day(day: date) -> datetime:
    """Return the end of a day in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


async def account_usage(session: Session, quotas: Quotas, user_id: str, role: Role) -> AccountUsage:
    """Return how much of each of its quotas an account has used."""
    now = await present(session)
    row = await session.row("account_use", user_id, now.date())
    assert row is not None
    uses = _account_uses(quotas, user_id, role, row, now)
    return AccountUsage(user_id=user_id, role=role, uses=uses)


async def canvas_usage(session: Session, quotas: Quotas, canvas_id: str) -> CanvasUsage:
    """Return how much of each of its quotas a canvas has used. Raises `NotFound`."""
    day = await today(session)
    row = await session.row("canvas_use", canvas_id, day)
    if row is None:
        raise no_such_canvas()
    bounds = quotas.of_canvas(canvas_id)
    return CanvasUsage(
        canvas_id=canvas_id,
        uses=[
            Use.of(
                QuotaName.CANVAS_JOURNAL,
                row["journal_bytes"],
                bounds.journal_bytes_per_day or 0,
                end_of_day(day),
            ),
            Use.of(QuotaName.CANVAS_CONTENT, row["content_bytes"], bounds.content_bytes or 0),
        ],
    )


async def require_new_canvas(session: Session, caller: Caller, *, stored: StoredQuotas) -> None:
    """Raise an error if the caller may not create one more canvas.

    Raises `QuotaExceeded` if the caller has created too many canvases in an hour or a day, and `QuotaFull` if the
    caller has too many canvases. The caller's other requests to create or restore a canvas wait for the end of the
    transaction, because together the requests could exceed the bound.
    """
    await session.row("lock_creator", caller.user_id)
    quotas = await stored.in_force_within(session)
    usage = await account_usage(session, quotas, caller.user_id, caller.role_for_limits)
    for use in usage.uses:
        if use.name is QuotaName.ACCOUNT_JOURNAL or use.status is not QuotaStatus.OVER:
            continue
        metrics.QUOTA_REFUSALS.labels(use.name.value).inc()
        if use.resets_at is None:
            raise QuotaFull(
                f"an account may have {use.limit} canvases; delete some, or ask an admin for more",
                limit=use.limit,
            )
        wait = max(1, math.ceil((use.resets_at - await present(session)).total_seconds()))
        period = "an hour" if use.name is QuotaName.CANVASES_PER_HOUR else "a day"
        raise QuotaExceeded(
            f"an account may create {use.limit} canvases in {period}; create the next one in {wait} s",
            limit=use.limit,
            retry_after=wait,
        )


async def require_canvas_count(
    session: Session, creator: str, role: Role, *, stored: StoredQuotas
) -> None:
    """Raise `QuotaFull` if the account that created a canvas may not have one more. Call this before a restore.

    The account's other requests wait, as in `require_new_canvas`.
    """
    await session.row("lock_creator", creator)
    quotas = await stored.in_force_within(session)
    for use in (await account_usage(session, quotas, creator, role)).uses:
        if use.name is QuotaName.CANVASES and use.status is QuotaStatus.OVER:
            metrics.QUOTA_REFUSALS.labels(use.name.value).inc()
            raise QuotaFull(
                f"the account that created the canvas may have {use.limit} canvases; "
                "delete some of them, or ask an admin for more",
                limit=use.limit,
            )


def _account_uses(quotas: Quotas, user_id: str, role: Role, row: Row, now: datetime) -> list[Use]:
    bounds = quotas.of_account(user_id, role)
    return [
        Use.of(
            QuotaName.ACCOUNT_JOURNAL,
            row["journal_bytes"],
            bounds.journal_bytes_per_day or 0,
            end_of_day(now.date()),
        ),
        Use.of(QuotaName.CANVASES, row["canvases"], bounds.canvases or 0),
        Use.of(
            QuotaName.CANVASES_PER_HOUR,
            row["in_hour"],
            bounds.canvases_per_hour or 0,
            (row["hour_since"] or now) + timedelta(hours=1),
        ),
        Use.of(
            QuotaName.CANVASES_PER_DAY,
            row["in_day"],
            bounds.canvases_per_day or 0,
            (row["day_since"] or now) + timedelta(days=1),
        ),
    ]
