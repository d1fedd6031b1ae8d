"""Missing journal entries: they are recorded also if a compaction, and no reader, finds them."""

import re

import pytest
from prometheus_client import REGISTRY

from deploy.build.tools import ROOT
from svgx_state.deletion.purge import Purge
from svgx_state.history.past import Past
from svgx_state.journal.gaps import RecordedGaps
from svgx_state.journal.retention import Retention
from svgx_state.snapshots import Compactor
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables


@pytest.fixture
async def canvas_id(fresh: FreshTables, compactor: Compactor) -> str:
    """A canvas with the revisions 1 to 12, and snapshots through the revisions 4 and 8."""
    canvas_id = await fresh.create()
    await draw(fresh, canvas_id, *range(1, 5))
    await compactor.compact(canvas_id)
    await draw(fresh, canvas_id, *range(5, 9))
    await compactor.compact(canvas_id)
    await draw(fresh, canvas_id, *range(9, 13))
    return canvas_id


async def draw(fresh: FreshTables, canvas_id: str, *numbers: int) -> None:
    """Commit one entry for each number. Each is drawn by a pen of its own, so that it needs no other entry."""
    for number in numbers:
        await fresh.journal.append([Pen(canvas_id, f"pen {number}").draw(str(number))])


async def content(fresh: FreshTables, canvas_id: str) -> list[int]:
    """Return the numbers of the entries that the canvas shows."""
    return sorted(map(int, elements((await fresh.journal.load(canvas_id)).updates)))


async def snapshots(fresh: FreshTables, canvas_id: str) -> list[int]:
    """Return the revisions of the canvas's snapshots."""
    rows = await fresh.tables.fetch(
        "SELECT through_revision FROM snapshot WHERE canvas_id = $1 ORDER BY 1", canvas_id
    )
    return [row["through_revision"] for row in rows]


async def gaps(fresh: FreshTables) -> list[tuple[str, int, int]]:
    """Return the recorded gaps: the canvas, and the revisions before and after the missing entries."""
    rows = await fresh.tables.fetch("SELECT * FROM journal_gap ORDER BY canvas_id")
    return [(row["canvas_id"], row["after_revision"], row["through_revision"]) for row in rows]


def metric(name: str) -> float:
    """Return the value of a metric of the journal."""
    return REGISTRY.get_sample_value(f"svgx_engine_journal_{name}") or 0.0


async def test_compaction_that_finds_missing_entries_first_records_them(
    fresh: FreshTables,
    canvas_id: str,
    compactor: Compactor,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Loads begin with the new snapshot and find no gap, but the record stays. Proves R-STATE-29.

    The snapshot before the gap stays too, also after further compactions.
    """
    await fresh.tables.execute("DELETE FROM journal WHERE revision = 10")
    counted = metric("gaps_total")
    assert await compactor.compact(canvas_id)
    assert metric("gaps_total") == counted + 1
    assert await gaps(fresh) == [(canvas_id, 8, 12)]
    printed = capsys.readouterr().out
    assert printed.count("journal entries are missing") == 1
    assert canvas_id in printed
    for number in range(13, 16):
        await draw(fresh, canvas_id, number)
        assert await compactor.compact(canvas_id)
    assert await snapshots(fresh, canvas_id) == [8, 14, 15]
    assert await content(fresh, canvas_id) == [*range(1, 10), *range(11, 16)]
    assert metric("gaps_total") == counted + 1
    assert await gaps(fresh) == [(canvas_id, 8, 12)]


async def test_compaction_without_the_only_base_records_the_missing_entries(
    fresh: FreshTables, canvas_id: str, compactor: Compactor
) -> None:
    """A corrupt snapshot leaves a gap if the journal before it was dropped. Proves R-STATE-24, R-STATE-29."""
    await fresh.tables.execute("DELETE FROM journal WHERE revision <= 8 OR revision = 11")
    await fresh.tables.execute("DELETE FROM snapshot WHERE through_revision = 4")
    await fresh.tables.execute("UPDATE snapshot SET update = '\\x00'")
    assert await compactor.compact(canvas_id)
    assert await gaps(fresh) == [(canvas_id, 0, 12)]
    assert await content(fresh, canvas_id) == [9, 10, 12]


async def test_retention_that_finds_missing_entries_first_records_them(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """Retention compacts canvases that nobody opens, and then drops their days. Proves R-STATE-29."""
    whole, canvas_id = await fresh.create(), await fresh.create()
    for number in range(1, 13):
        await draw(fresh, whole, number)
        await draw(fresh, canvas_id, number)
        if not number % 3:
            await fresh.pass_days()
    await fresh.tables.execute(
        "DELETE FROM journal WHERE canvas_id = $1 AND revision = 2", canvas_id
    )
    assert await Retention(fresh.database, compactor, days=2).drop()
    assert await snapshots(fresh, canvas_id) == [6]
    assert await gaps(fresh) == [(canvas_id, 0, 6)]
    assert await content(fresh, canvas_id) == [1, *range(3, 13)]
    assert await gaps(fresh) == [(canvas_id, 0, 6)]


async def test_compaction_does_not_report_quarantined_entries_as_missing(
    fresh: FreshTables, canvas_id: str, compactor: Compactor
) -> None:
    """Corrupt entries are reported when they are moved to the quarantine. Proves R-STATE-24, R-STATE-29."""
    await fresh.tables.execute("UPDATE journal SET update = '\\x00' WHERE revision IN (9, 11)")
    assert await compactor.compact(canvas_id)
    assert await content(fresh, canvas_id) == [*range(1, 9), 10, 12]
    assert await gaps(fresh) == []


async def test_gap_that_another_process_has_found_is_in_the_metrics(
    fresh: FreshTables, canvas_id: str
) -> None:
    """The command of the backup CronJob has no metrics page, so replicas read the record. Proves R-STATE-29.

    The record has the times of the first and the newest read, and all revisions with missing entries.
    """
    show = RecordedGaps(fresh.database).show
    await show()
    assert (metric("gap_timestamp_seconds"), metric("gap_canvases")) == (0, 0)
    await fresh.tables.execute("DELETE FROM journal WHERE revision IN (2, 10)")
    await fresh.journal.load(canvas_id)
    first = await fresh.tables.fetchrow("SELECT * FROM journal_gap")
    assert first is not None
    assert (first["canvas_id"], first["after_revision"], first["through_revision"]) == (
        canvas_id, 8, 12,
    )  # fmt: skip
    await Past(fresh.database).content(canvas_id, 3)
    await show()
    newest = await fresh.tables.fetchrow("SELECT * FROM journal_gap")
    assert newest is not None
    assert (newest["after_revision"], newest["through_revision"]) == (0, 12)
    assert newest["first_at"] == first["first_at"] == first["last_at"] < newest["last_at"]
    assert metric("gap_timestamp_seconds") == pytest.approx(newest["last_at"].timestamp())
    assert metric("gap_canvases") == 1


async def test_removal_of_a_canvas_leaves_no_gap(
    fresh: FreshTables, canvas_id: str, compactor: Compactor
) -> None:
    """Entries that the removal of a canvas deletes are not missing, and it deletes the record. Proves R-STATE-29."""
    await fresh.tables.execute("DELETE FROM journal WHERE revision = 3")
    await Past(fresh.database).content(canvas_id, 3)
    assert await gaps(fresh) == [(canvas_id, 0, 3)]
    await fresh.tables.execute("UPDATE canvas SET deleted_at = now(), purge_began_at = now()")
    await fresh.tables.execute("DELETE FROM journal WHERE revision = 10")
    await Past(fresh.database).content(canvas_id, 12, also_deleted=True)
    assert await compactor.compact(canvas_id)
    assert await gaps(fresh) == [(canvas_id, 0, 3)]
    step = await Purge(fresh.database, retention_days=30).step_of(canvas_id)
    assert step.finished
    assert await gaps(fresh) == []


async def test_statements_of_the_runbook_lead_to_a_repaired_canvas(
    fresh: FreshTables, canvas_id: str, compactor: Compactor
) -> None:
    """The runbook finds the missing entries, and the canvas shows them after their return. Proves R-STATE-29."""
    page = (ROOT / "docs" / "runbooks" / "journal-gap.md").read_text(encoding="utf-8")
    list_canvases, list_revisions, delete_record = (
        each.replace("state.", "").replace("CANVAS_ID", canvas_id)
        for each in re.findall(r"```sql\n(.+?)```", page, re.DOTALL)
    )
    await fresh.tables.execute("CREATE TEMPORARY TABLE backup AS SELECT * FROM journal")
    await fresh.tables.execute("DELETE FROM journal WHERE revision IN (10, 11)")
    await fresh.tables.execute("UPDATE journal SET update = '\\x00' WHERE revision = 9")
    assert await compactor.compact(canvas_id)
    assert [row["canvas_id"] for row in await fresh.tables.fetch(list_canvases)] == [canvas_id]
    rows = await fresh.tables.fetch(list_revisions)
    assert [row["revision"] for row in rows] == [10, 11]
    await fresh.tables.execute(
        "INSERT INTO journal SELECT * FROM backup WHERE revision IN (10, 11)"
    )
    assert await fresh.tables.fetch(list_revisions) == []
    await fresh.tables.execute("DELETE FROM snapshot WHERE through_revision > 8")
    assert await content(fresh, canvas_id) == [*range(1, 9), *range(10, 13)]
    await fresh.tables.execute(delete_record)
    assert await gaps(fresh) == []
