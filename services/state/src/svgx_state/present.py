"""The present time, by the clock of PostgreSQL. Stored rows have its times, and a replica's clock may be wrong."""

from datetime import date, datetime

from svgx_common.postgres import Session


async def present(session: Session) -> datetime:
    """Return the present time in UTC."""
    row = await session.row("clock")
    assert row is not None
    moment: datetime = row["now"]
    return moment


async def today(session: Session) -> date:
    """Return the present day in UTC."""
    return (await present(session)).date()
