"""Corrupt rows: they are moved to the quarantine and reported, and their canvas still loads."""

from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from pycrdt import Doc

from svgx_canvas.document.shared_document import MAX_PENDING_BYTES
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from svgx_state.history.past import Past
from svgx_state.journal.checksums import checksum, is_sound
from svgx_state.journal.quarantine import Quarantine
from svgx_state.snapshots import Compactor
from svgx_yjs.splitting import PIECE_BYTES
from svgx_yjs.structure import read_state_vector
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables
from tests.unit.canvas.test_compaction import CONTRADICTING
from tests.unit.yjs.updates import ANY, BINARY, NULL, in_root, text, update
from tests.unit.yjs.updates import after as item_after

DAMAGE = {
    "a flipped bit": "set_byte(update, 3, get_byte(update, 3) # 1)",
    "truncated": "substr(update, 1, octet_length(update) - 1)",
    "empty": "''::bytea",
    "longer": "update || '\\x00'::bytea",
    "zeros": "decode(repeat('00', octet_length(update)), 'hex')",
}


@dataclass
class Canvas:
    """A canvas with the revisions 1 to 12, and snapshots through the revisions 4 and 8."""

    id: str
    pen: Pen
    entries: list[Entry]

    def content(self, *without: int) -> dict[str, str]:
        """Return the elements of all entries except the entries of the revisions `without`."""
        return elements(
            entry.update for number, entry in enumerate(self.entries, 1) if number not in without
        )


@pytest.fixture
async def canvas(fresh: FreshTables, compactor: Compactor) -> Canvas:
    """A canvas with two snapshots. Each entry is drawn by a pen of its own, so that it needs no other entry."""
    canvas = Canvas(await fresh.create(), Pen("", "any"), [])
    for number in range(1, 13):
        canvas.entries.append(Pen(canvas.id, f"pen {number}").draw(str(number)))
        await fresh.journal.append(canvas.entries[-1:])
        if number in (4, 8):
            await compactor.compact(canvas.id)
    return canvas


def counted(name: str) -> float:
    """Return the value of a counter."""
    return REGISTRY.get_sample_value(f"svgx_engine_{name}_total") or 0.0


async def quarantine(fresh: FreshTables) -> list[tuple[str, int, str]]:
    """Return the rows of the quarantine."""
    rows = await fresh.tables.fetch("SELECT kind, revision, reason FROM quarantine ORDER BY id")
    return [(row["kind"], row["revision"], row["reason"]) for row in rows]


@pytest.mark.parametrize("kind", DAMAGE)
async def test_corrupt_entry_is_quarantined_and_the_canvas_loads_without_it(
    fresh: FreshTables, canvas: Canvas, compactor: Compactor, kind: str
) -> None:
    """An entry that does not match its checksum is moved, reported once, and left out. Proves R-STATE-24."""
    await fresh.tables.execute(f"UPDATE journal SET update = {DAMAGE[kind]} WHERE revision = 10")
    before, gaps = counted("journal_quarantined"), counted("journal_gaps")
    content = await fresh.journal.load(canvas.id)
    assert content.revision == 12
    assert elements(content.updates) == canvas.content(10)
    assert await quarantine(fresh) == [("entry", 10, "its bytes do not match its checksum")]
    row = await fresh.tables.fetchrow("SELECT * FROM quarantine")
    assert row is not None
    assert row["canvas_id"] == canvas.id
    assert (row["writer"], row["sequence"], row["authors"]) == ("pen 10", 1, ["pen 10"])
    assert (row["checksum"], row["update"]) != (checksum(row["update"]), canvas.entries[9].update)
    for after in (0, 9, 10, 11):
        content = await fresh.journal.load(canvas.id, after)
        known = [entry.update for entry in canvas.entries[:after] if entry.writer != "pen 10"]
        assert elements([*known, *content.updates]) == canvas.content(10)
    assert (counted("journal_quarantined"), counted("journal_gaps")) == (before + 1, gaps)
    await Quarantine(fresh.database).show_newest()
    name = "svgx_engine_journal_quarantined_timestamp_seconds"
    assert REGISTRY.get_sample_value(name) == pytest.approx(row["at"].timestamp())
    assert await compactor.compact(canvas.id)
    await fresh.journal.append([Pen(canvas.id, "later").draw("later")])
    assert elements((await fresh.journal.load(canvas.id)).updates) == {
        **canvas.content(10), "later": "x",
    }  # fmt: skip


async def test_load_after_a_revision_quarantines_corrupt_entries(
    fresh: FreshTables, canvas: Canvas
) -> None:
    """A load that starts after a revision also verifies the entries. Proves R-STATE-24."""
    await fresh.tables.execute("UPDATE journal SET update = '\\x00' WHERE revision = 11")
    content = await fresh.journal.load(canvas.id, 9)
    assert content.revision == 12
    assert elements(content.updates) == canvas.content(11)
    assert [row[:2] for row in await quarantine(fresh)] == [("entry", 11)]


async def test_compaction_quarantines_corrupt_entries(
    fresh: FreshTables, canvas: Canvas, compactor: Compactor
) -> None:
    """A compaction verifies the entries, so that no corrupt one gets into a snapshot. Proves R-STATE-24."""
    await fresh.tables.execute("UPDATE journal SET update = '\\x00' WHERE revision IN (9, 12)")
    assert await compactor.compact(canvas.id)
    assert [row[:2] for row in await quarantine(fresh)] == [("entry", 9), ("entry", 12)]
    assert elements((await fresh.journal.load(canvas.id)).updates) == canvas.content(9, 12)


@pytest.mark.parametrize("kind", DAMAGE)
async def test_corrupt_snapshot_is_replaced_by_the_one_before_it(
    fresh: FreshTables, canvas: Canvas, compactor: Compactor, kind: str
) -> None:
    """Without the newest snapshot, the load takes the older one and the journal. Proves R-STATE-24."""
    await fresh.tables.execute(
        f"UPDATE snapshot SET update = {DAMAGE[kind]} WHERE through_revision = 8"
    )
    content = await fresh.journal.load(canvas.id)
    assert (content.revision, len(content.updates)) == (12, 9)
    assert elements(content.updates) == canvas.content()
    assert [row[:2] for row in await quarantine(fresh)] == [("snapshot", 8)]
    row = await fresh.tables.fetchrow("SELECT * FROM canvas")
    assert row is not None
    assert row["snapshot_revision"] == 4
    assert row["snapshot_bytes"] > 0
    assert await compactor.compact(canvas.id)
    assert len((await fresh.journal.load(canvas.id)).updates) == 1


async def test_canvas_without_sound_snapshots_loads_its_journal(
    fresh: FreshTables, canvas: Canvas
) -> None:
    """Without any snapshot, the load takes the whole journal. Proves R-STATE-24."""
    await fresh.tables.execute("UPDATE snapshot SET update = '\\x00'")
    content = await fresh.journal.load(canvas.id)
    assert content.updates == tuple(entry.update for entry in canvas.entries)
    assert len(await quarantine(fresh)) == 2


async def test_canvas_without_its_past_loads_the_entries_that_are_left(
    fresh: FreshTables, canvas: Canvas, compactor: Compactor
) -> None:
    """Without snapshots and entries 1 to 8, a load returns the other entries and reports a gap. Proves R-STATE-24."""
    await fresh.tables.execute("DELETE FROM journal WHERE revision <= 8")
    await fresh.tables.execute("UPDATE snapshot SET update = '\\x00'")
    gaps = counted("journal_gaps")
    content = await fresh.journal.load(canvas.id)
    assert content.revision == 12
    assert elements(content.updates) == canvas.content(*range(1, 9))
    assert counted("journal_gaps") == gaps + 1
    assert await compactor.compact(canvas.id)
    assert elements((await fresh.journal.load(canvas.id)).updates) == canvas.content(*range(1, 9))


async def test_rows_of_earlier_versions_have_no_checksum_and_are_accepted(
    fresh: FreshTables, canvas: Canvas
) -> None:
    """Rows without a checksum are loaded, also if a replica of an earlier version appends them. Proves R-STATE-24."""
    await fresh.tables.execute("UPDATE journal SET checksum = NULL")
    await fresh.tables.execute("UPDATE snapshot SET checksum = NULL")
    old = Pen(canvas.id, "old").draw("old")
    for _ in range(2):
        revision = await fresh.tables.fetchval(
            "SELECT revision FROM append_entries($1, $2, $3, $4, $5, $6)",
            [canvas.id], ["old"], [1], ["old"], [1], [old.update],
        )  # fmt: skip
        assert revision == 13
    content = await fresh.journal.load(canvas.id)
    assert elements(content.updates) == {**canvas.content(), "old": "x"}
    assert await quarantine(fresh) == []


async def test_update_that_is_no_yjs_update_is_quarantined_by_compaction(
    fresh: FreshTables, canvas: Canvas, compactor: Compactor
) -> None:
    """An entry with a correct checksum that is no Yjs update does not stop compaction. Proves R-STATE-24."""
    broken = [Entry(canvas.id, "bad", number, (), b"no update") for number in range(2)]
    last = Pen(canvas.id, "later").draw("later")
    await fresh.journal.append([broken[0], last, broken[1]])
    assert await compactor.compact(canvas.id)
    assert await quarantine(fresh) == [
        ("entry", 13, "it is not a Yjs update"),
        ("entry", 15, "it is not a Yjs update"),
    ]
    content = await fresh.journal.load(canvas.id)
    assert content.revision == 15
    assert elements(content.updates) == {**canvas.content(), "later": "x"}


async def test_waiting_updates_do_not_prevent_a_snapshot(
    fresh: FreshTables, canvas: Canvas, compactor: Compactor
) -> None:
    """A snapshot also has contradictory updates, and more waiting updates than a holder keeps. Proves R-STATE-6.

    Only a row that cannot be read is moved to the quarantine.
    """
    value = text("x" * PIECE_BYTES)
    count = MAX_PENDING_BYTES // PIECE_BYTES
    waiting = update(
        *((1000 + each, 0, [item_after(BINARY, value, (5, 0))]) for each in range(count))
    )
    contents = (waiting, b"no update", *CONTRADICTING)
    await fresh.journal.append(
        [Entry(canvas.id, "any", number, (), each) for number, each in enumerate(contents)]
    )
    assert await compactor.compact(canvas.id)
    assert await quarantine(fresh) == [("entry", 14, "it is not a Yjs update")]
    content = await fresh.journal.load(canvas.id)
    assert (content.revision, len(content.updates)) == (17, 1)
    assert elements(content.updates) == canvas.content()
    missing = update((5, 0, [in_root(ANY, NULL, root="other")]))
    released = Doc[Any]()
    for each in (*content.updates, missing):
        released.apply_update(each)
    assert read_state_vector(released.get_state()).keys() >= {*range(1000, 1000 + count)}


@pytest.mark.parametrize(
    ("table", "column"), [("journal", "revision"), ("snapshot", "through_revision")]
)
async def test_row_that_postgresql_cannot_read_is_quarantined(
    backing: DevStack, fresh: FreshTables, compactor: Compactor, table: str, column: str
) -> None:
    """A row that lost its bytes is moved without them, and the canvas loads. Proves R-STATE-24."""
    canvas_id = await fresh.create()
    large, small = Pen(canvas_id, "large"), Pen(canvas_id, "small")
    await fresh.journal.append([small.draw("small"), large.draw("large", "x" * 50_000)])
    if table == "snapshot":
        await compactor.compact(canvas_id)
    schema = await fresh.tables.fetchval("SELECT current_schema()")
    await _lose_a_chunk(backing, schema, table)
    content = await fresh.journal.load(canvas_id)
    assert content.revision == 2
    expected = {"small": "x"} if table == "journal" else {"small": "x", "large": "x" * 50_000}
    assert elements(content.updates) == expected
    rows = await fresh.tables.fetch("SELECT kind, revision, update, reason FROM quarantine")
    assert [tuple(row) for row in rows] == [
        ("entry" if table == "journal" else "snapshot", 2, None, "PostgreSQL cannot read its bytes")
    ]
    assert elements((await fresh.journal.load(canvas_id)).updates) == expected
    await compactor.compact(canvas_id)
    assert elements((await fresh.journal.load(canvas_id)).updates) == expected


@pytest.mark.parametrize("reader", ["load", "past", "compaction"])
async def test_unreadable_outline_is_deleted_and_its_snapshot_stays(
    backing: DevStack,
    fresh: FreshTables,
    compactor: Compactor,
    reader: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A snapshot that lost bytes of its outline is read without the outline. Proves R-STATE-24, R-STATE-27.

    The journal is empty, so the content is only in the snapshot. The deletion of the outline is counted and logged.
    """
    before = counted("journal_deleted_outlines"), counted("journal_quarantined")
    canvas_id = await fresh.create()
    await fresh.journal.append([Pen(canvas_id, "first").draw("first")])
    await compactor.compact(canvas_id)
    # The outline has several chunks, and the update has none.
    await fresh.tables.execute("UPDATE snapshot SET outline = decode(repeat('00', 10000), 'hex')")
    await fresh.tables.execute("DELETE FROM journal")
    schema = await fresh.tables.fetchval("SELECT current_schema()")
    await _lose_a_chunk(backing, schema, "snapshot")
    expected = {"first": "x"}
    match reader:
        case "load":
            content = await fresh.journal.load(canvas_id)
        case "past":
            content = await Past(fresh.database).content(canvas_id, 1)
        case _:
            await fresh.journal.append([Pen(canvas_id, "later").draw("later")])
            assert await compactor.compact(canvas_id)
            content = await fresh.journal.load(canvas_id)
            expected["later"] = "x"
    assert elements(content.updates) == expected
    assert await quarantine(fresh) == []
    rows = await fresh.tables.fetch("SELECT through_revision, outline FROM snapshot ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        (number, None) for number in range(1, len(expected) + 1)
    ]
    after = counted("journal_deleted_outlines"), counted("journal_quarantined")
    assert after == (before[0] + 1, before[1])
    printed = capsys.readouterr().out
    assert printed.count("an outline that PostgreSQL cannot read was deleted") == 1
    assert canvas_id in printed


async def _lose_a_chunk(backing: DevStack, schema: str, table: str) -> None:
    """Delete a chunk of each large value of a table, as a damaged disk does."""
    connection = await asyncpg.connect(backing.postgres_superuser_url("svgx"))
    try:
        async with connection.transaction():
            toast_tables = await connection.fetch(
                "SELECT t.oid, t.relname FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid"
                " WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND c.relname ~ $2",
                schema,
                f"^{table}(_[0-9]+)?$",
            )
            for toast_table in toast_tables:
                # PostgreSQL deletes rows of ordinary tables only, so mark the TOAST table as an ordinary table.
                set_kind = "UPDATE pg_class SET relkind = $2 WHERE oid = $1"
                await connection.execute(set_kind, toast_table["oid"], b"r")
                await connection.execute(
                    f"DELETE FROM pg_toast.{toast_table['relname']} WHERE chunk_seq = 1"
                )
                await connection.execute(set_kind, toast_table["oid"], b"t")
    finally:
        await connection.close()


@pytest.mark.parametrize("update", [b"", b"x", bytes(1000), bytes(range(256)) * 40])
def test_checksum_fits_a_postgresql_integer_and_finds_changes(update: bytes) -> None:
    """The checksum is a signed number of 32 bits, and differs after a change. Proves R-STATE-24."""
    assert -(2**31) <= checksum(update) < 2**31
    assert is_sound(update, checksum(update))
    assert is_sound(update, None)
    for position in range(0, len(update), 97):
        changed = bytearray(update)
        changed[position] ^= 0x10
        assert not is_sound(bytes(changed), checksum(update))
