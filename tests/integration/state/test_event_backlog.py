"""A large backlog of events and deliveries: each statement does a bounded amount of work."""

import asyncio

import pytest

from svgx_common.events import relay
from svgx_common.events.relay import drop_slices
from svgx_common.postgres import Row
from tests.integration.state.fresh_tables import FreshTables

CHECKED_TOGETHER = 500
"""Largest number of due deliveries that one claim checks."""

BLOCKED_COUNT = 2000
"""Number of deliveries of the entity `blocked`."""

_COUNT_DUE = (
    "SELECT count(*) FROM webhook_delivery WHERE status = 'pending' AND due_at <= clock_timestamp()"
)


async def fill(fresh: FreshTables) -> None:
    """Add a webhook with `BLOCKED_COUNT` deliveries of the entity `blocked`, and a later delivery of the entity `free`.

    The first delivery of `blocked` has failed, and its next attempt is in an hour.
    """
    await fresh.tables.execute("DELETE FROM webhook")
    await fresh.tables.execute("DELETE FROM event")
    await fresh.tables.execute(
        "INSERT INTO webhook (id, url, types, note, active, secret, created_by)"
        " VALUES ('hook', 'https://example.org', '{}', '', true, 'whsec_AA==', 'root')"
    )
    await fresh.tables.execute(
        "INSERT INTO event (id, type, service, entity_id, data) VALUES ('event', 'x', 'state', 'x', '{}')"
    )
    await fresh.tables.execute(
        """
        INSERT INTO webhook_delivery (id, webhook_id, event_id, entity_id, number, attempts, due_at)
        SELECT CASE WHEN n > $1 THEN 'free' ELSE 'blocked-' || n END, 'hook', 'event',
            CASE WHEN n > $1 THEN 'free' ELSE 'blocked' END, n, CASE WHEN n = 1 THEN 3 ELSE 0 END,
            clock_timestamp() + CASE WHEN n = 1 THEN interval '1 hour' ELSE interval '0' END
        FROM generate_series(1, $1 + 1) AS n
        """,
        BLOCKED_COUNT,
    )


async def claim(fresh: FreshTables) -> tuple[list[str], bool]:
    """Claim deliveries. Return their ids, and whether more deliveries may be due."""
    rows: list[Row] = await fresh.database.rows(
        "claim_deliveries", [], [], 4, 30.0, CHECKED_TOGETHER
    )
    return [row["delivery_id"] for row in rows if row["delivery_id"]], rows[0]["more"]


async def test_claim_looks_at_a_bounded_number_of_waiting_deliveries(fresh: FreshTables) -> None:
    """Proves R-EVENT-3 and R-EVENT-10: a claim postpones waiting deliveries, so that the next claim reaches others."""
    await fill(fresh)
    due, claimed, more, statements = BLOCKED_COUNT, list[str](), True, 0
    while more:
        delivery_ids, more = await claim(fresh)
        claimed += delivery_ids
        statements += 1
        still_due: int = await fresh.tables.fetchval(_COUNT_DUE)
        assert 0 <= due - still_due <= CHECKED_TOGETHER
        due = still_due
    assert (claimed, due) == (["free"], 0)
    assert statements <= BLOCKED_COUNT // CHECKED_TOGETHER + 1
    assert await claim(fresh) == ([], False)


async def test_next_delivery_of_an_entity_begins_when_the_previous_delivery_ends(
    fresh: FreshTables,
) -> None:
    """Proves R-EVENT-3: a postponed delivery is due as soon as the previous delivery has ended."""
    await fill(fresh)
    while (await claim(fresh))[1]:
        pass
    await fresh.database.run("finish_delivery", "blocked-1", 3, 204)
    await fresh.database.run("release_next_delivery", "blocked-1")
    assert await claim(fresh) == (["blocked-2"], False)
    await fresh.database.run("release_next_delivery", "blocked-2")  # "blocked-2" has not ended
    assert await claim(fresh) == ([], False)


async def test_release_of_a_delivery_waits_for_a_claim_in_progress(fresh: FreshTables) -> None:
    """Proves R-EVENT-3: the release waits for a claim that postpones the next delivery, and then makes it due."""
    await fill(fresh)
    await fresh.database.run("finish_delivery", "blocked-1", 3, 204)
    async with fresh.tables.transaction():
        # The state of a claim that is not committed yet.
        await fresh.tables.execute(
            "UPDATE webhook_delivery SET due_at = clock_timestamp() + interval '1 hour' WHERE id = 'blocked-2'"
        )
        release = asyncio.create_task(fresh.database.run("release_next_delivery", "blocked-1"))
        await asyncio.wait({release}, timeout=0.2)
        assert not release.done()
    await release
    assert await fresh.tables.fetchval(f"{_COUNT_DUE} AND id = 'blocked-2'") == 1


async def test_repeated_delivery_releases_the_next_one(fresh: FreshTables) -> None:
    """Proves R-EVENT-7: a pending delivery that an admin repeats becomes its entity's last one. The next one is due."""
    await fill(fresh)
    await fresh.tables.execute("SELECT setval('webhook_delivery_number', $1)", BLOCKED_COUNT + 1)
    while (await claim(fresh))[1]:
        pass
    assert await fresh.database.row("redeliver", "hook", "blocked-1") is not None
    assert (await claim(fresh))[0] == ["blocked-2"]


async def test_old_events_are_removed_in_slices(
    fresh: FreshTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-EVENT-10: a statement checks a bounded number of events, and no event is checked twice."""
    monkeypatch.setattr(relay, "DROP_PAUSE_SECONDS", 0)
    await fill(fresh)
    await fresh.tables.execute("DELETE FROM webhook_delivery")
    await fresh.tables.execute("DELETE FROM event")
    await fresh.tables.execute(
        """
        INSERT INTO event (id, type, service, entity_id, data, at, relayed_at)
        SELECT n::text, 'x', 'state', 'x', '{}',
            now() - CASE WHEN n > 35 THEN interval '1 day' ELSE interval '40 days' END,
            CASE WHEN n = 35 THEN NULL ELSE now() END
        FROM generate_series(1, 36) AS n
        """
    )
    await fresh.tables.execute(
        "INSERT INTO webhook_delivery (id, webhook_id, event_id, entity_id)"
        " SELECT id, 'hook', id, id FROM event WHERE id IN ('1', '12')"
    )
    assert await drop_slices(fresh.database, 30, size=10) == 4
    kept = await fresh.tables.fetchval("SELECT array_agg(id ORDER BY id::integer) FROM event")
    assert kept == ["1", "12", "35", "36"]
