"""Appends to the journal, and loads of canvases, over the bus."""

import asyncio
import os
from dataclasses import replace

import asyncpg
import pytest

from svgx_common.contract import state
from svgx_common.contract.errors import BadRequest, NotFound
from svgx_common.contract.state import Committed, Entry
from svgx_state.journal.checksums import checksum
from tests.blocked import until_blocked
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.service import Client, Tables

pytestmark = pytest.mark.usefixtures("service")


async def test_append_commits_many_canvases_in_one_transaction(
    client: Client, tables: Tables
) -> None:
    """All entries of an append are committed in one transaction. Proves R-STATE-1."""
    ids = [await client.create(f"canvas {number}") for number in range(20)]
    entries = [Pen(canvas_id, "holder").draw("a") for canvas_id in ids]
    assert await client.append(*entries) == [Committed(canvas_id, 1) for canvas_id in ids]
    rows = await tables.fetch(
        "SELECT DISTINCT xmin::text, at FROM journal WHERE canvas_id = ANY ($1)", ids
    )
    assert len(rows) == 1
    for canvas_id, entry in zip(ids, entries, strict=True):
        assert (await client.load(canvas_id)).updates == (entry.update,)


async def test_entries_of_a_canvas_get_revisions_in_their_order(
    client: Client, tables: Tables
) -> None:
    """Entries of one canvas get consecutive revisions in the order of the append. Proves R-STATE-2."""
    one, two = await client.create(), await client.create()
    pen = Pen(one, "holder")
    entries = [pen.draw("a"), Pen(two, "holder").draw("b"), pen.draw("c"), pen.draw("d")]
    committed = await client.append(*entries)
    assert [result.revision for result in committed] == [1, 1, 2, 3]
    content = await client.load(one)
    assert content.revision == 3
    assert content.updates == tuple(entry.update for entry in entries if entry.canvas_id == one)
    assert await tables.fetchval("SELECT authors FROM journal WHERE canvas_id = $1", two) == [
        "holder"
    ]
    assert (await client.get(one)).revision == 3


async def test_authors_stay_with_their_entries(client: Client, tables: Tables) -> None:
    """Each entry keeps its own authors, without NUL characters. Proves R-STATE-1."""
    canvas_id = await client.create()
    update = Pen(canvas_id, "holder").draw("a").update
    authors: list[tuple[str, ...]] = [("ann", "bob"), (), ("cid",), (), ("dan", "eve\0", "fay")]
    await client.append(
        *(Entry(canvas_id, "holder", number, names, update) for number, names in enumerate(authors))
    )
    rows = await tables.fetch(
        "SELECT authors FROM journal WHERE canvas_id = $1 ORDER BY revision", canvas_id
    )
    assert [row["authors"] for row in rows] == [
        ["ann", "bob"], [], ["cid"], [], ["dan", "eve", "fay"],
    ]  # fmt: skip


async def test_later_entries_of_a_writer_keep_their_order_authors_and_sizes(
    client: Client, tables: Tables
) -> None:
    """Later entries of a writer keep their order, authors and sizes. Proves R-STATE-1, R-STATE-2 and R-STATE-3."""
    ids = [await client.create() for _ in range(3)]
    pens = [Pen(canvas_id, "holder") for canvas_id in ids]
    await client.append(*(pen.draw("a") for pen in pens[:2]))
    authors: list[tuple[str, ...]] = [("ann", "bob"), (), ("cid",)]
    # In the loop's first round, one canvas has no entries yet. In its second, all canvases have entries, and their
    # order differs.
    for revisions, order in ([2, 2, 1], [0, 1, 2]), ([2, 3, 3], [2, 0, 1]):
        entries = [
            replace(pens[each].draw("b"), authors=names)
            for each, names in zip(order, authors, strict=True)
        ]
        for _ in range(2):  # as new entries, and resent
            committed = await client.append(*entries)
            assert [result.revision for result in committed] == revisions
        for entry, revision in zip(entries, revisions, strict=True):
            row = await tables.fetchrow(
                "SELECT j.*, c.revision AS newest, c.bytes, c.updated_at, c.sequence AS highest"
                " FROM journal j JOIN canvas c ON c.id = j.canvas_id"
                " WHERE c.id = $1 AND j.revision = $2",
                entry.canvas_id,
                revision,
            )
            assert row is not None
            assert (row["writer"], row["sequence"], row["highest"], row["newest"]) == (
                "holder", entry.sequence, entry.sequence, revision,
            )  # fmt: skip
            assert (tuple(row["authors"]), row["update"]) == (entry.authors, entry.update)
            assert (row["checksum"], row["at"]) == (checksum(entry.update), row["updated_at"])
            updates = (await client.load(entry.canvas_id)).updates
            assert (len(updates), row["bytes"]) == (revision, sum(map(len, updates)))


async def test_resent_entry_changes_nothing(client: Client, tables: Tables) -> None:
    """An entry that is sent again gets its first revision, and changes nothing. Proves R-STATE-3."""
    one, two = await client.create(), await client.create()
    pen = Pen(one, "holder")
    first, second = pen.draw("a"), pen.draw("b")
    await client.append(first)
    await client.append(second)
    before = await tables.fetchrow("SELECT * FROM canvas WHERE id = $1", one)
    again = await client.append(second, Pen(two, "holder").draw("c"), first, first)
    assert [result.revision for result in again] == [2, 1, 1, 1]
    assert await tables.fetchrow("SELECT * FROM canvas WHERE id = $1", one) == before
    assert (await client.load(one)).updates == (first.update, second.update)


async def test_entry_twice_in_one_append_is_committed_once(client: Client) -> None:
    """An entry that is twice in one append is committed once. Proves R-STATE-3."""
    canvas_id = await client.create()
    entry = Pen(canvas_id, "holder").draw("a")
    assert [result.revision for result in await client.append(entry, entry)] == [1, 1]
    assert (await client.load(canvas_id)).updates == (entry.update,)


async def test_equal_sequence_numbers_of_two_writers_are_two_entries(client: Client) -> None:
    """Entries of two writers with the same sequence number are two entries. Proves R-STATE-3."""
    canvas_id = await client.create()
    one, other = Pen(canvas_id, "one").draw("a"), Pen(canvas_id, "other").draw("b")
    assert [result.revision for result in await client.append(one, other)] == [1, 2]


async def test_entry_of_an_unknown_canvas_gets_revision_0(client: Client) -> None:
    """An entry of an unknown canvas gets revision 0, and the other entries are committed. Proves R-STATE-4."""
    canvas_id = await client.create()
    entry = Pen(canvas_id, "holder").draw("a")
    unknown = [
        Entry(name, "holder", 1, (), entry.update) for name in ("nobody", "", "a\0b", "x" * 999)
    ]
    committed = await client.append(*unknown[:2], entry, *unknown[2:])
    assert [result.revision for result in committed] == [0, 0, 1, 0, 0]
    assert committed[3].canvas_id == "a\0b"


async def test_append_to_a_deleted_canvas_is_committed(client: Client, tables: Tables) -> None:
    """The journal of a deleted canvas still takes the edits of its holder. Proves R-STATE-4."""
    canvas_id = await client.create()
    await client.delete(canvas_id)
    entry = Pen(canvas_id, "holder").draw("a")
    assert await client.append(entry) == [Committed(canvas_id, 1)]
    rows = await tables.fetch("SELECT update FROM journal WHERE canvas_id = $1", canvas_id)
    assert [row["update"] for row in rows] == [entry.update]


async def test_append_without_entries_returns_nothing(client: Client) -> None:
    """An append without entries succeeds. Proves R-STATE-1."""
    assert await client.append() == []


async def test_unreadable_append_is_refused(client: Client) -> None:
    """An append that cannot be decoded is a bad request. Proves R-STATE-1."""
    with pytest.raises(BadRequest, match="ends within"):
        await client.bus.ask(state.JOURNAL_APPEND, state.AppendRequest(content=b"\x05\x01"))


async def test_load_returns_the_updates_after_a_revision(client: Client) -> None:
    """A load returns the updates after the given revision. Proves R-STATE-5."""
    canvas_id = await client.create()
    assert (await client.load(canvas_id)).updates == ()
    pen = Pen(canvas_id, "holder")
    entries = [pen.draw(str(number)) for number in range(5)]
    await client.append(*entries)
    for after in range(6):
        content = await client.load(canvas_id, after)
        assert content.revision == 5
        assert content.updates == tuple(entry.update for entry in entries[after:])


async def test_load_after_an_unknown_revision_returns_all_content(client: Client) -> None:
    """A load after a revision that does not exist returns all content.

    After a restore from a backup, a holder may know such a revision. Proves R-STATE-5.
    """
    canvas_id = await client.create()
    entry = Pen(canvas_id, "holder").draw("a")
    await client.append(entry)
    content = await client.load(canvas_id, 7)
    assert (content.revision, content.updates) == (1, (entry.update,))


async def test_load_of_an_unknown_or_deleted_canvas_is_not_found(client: Client) -> None:
    """A load of an unknown or deleted canvas is not found. Proves R-STATE-12."""
    canvas_id = await client.create()
    await client.append(Pen(canvas_id, "holder").draw("a"))
    await client.delete(canvas_id)
    for after in (0, 1):
        with pytest.raises(NotFound):
            await client.load(canvas_id, after)
        with pytest.raises(NotFound):
            await client.load("nobody", after)


async def test_update_of_ten_megabytes_is_committed_and_loaded(client: Client) -> None:
    """An update of 10 MB is committed and loaded. Proves R-STATE-10."""
    canvas_id, other = await client.create(), await client.create()
    pen = Pen(canvas_id, "holder")
    large = pen.draw("large", os.urandom(5_000_000).hex())
    small = Pen(other, "holder").draw("small")
    assert len(large.update) >= 10_000_000
    committed = await client.append(small, large, pen.draw("more"))
    assert [result.revision for result in committed] == [1, 1, 2]
    content = await client.load(canvas_id)
    assert content.updates[0] == large.update
    assert set(elements(content.updates)) == {"large", "more"}


async def test_later_revisions_wait_for_a_commit_in_flight(client: Client, tables: Tables) -> None:
    """A later revision becomes visible only after all earlier revisions. Proves R-STATE-2."""
    canvas_id = await client.create()
    early, late = Pen(canvas_id, "one").draw("a"), Pen(canvas_id, "two").draw("b")
    async with asyncio.timeout(30):
        transaction = tables.transaction()
        await transaction.start()
        revision = await tables.fetchval(
            "SELECT revision FROM append_entries($1, $2, $3, $4, $5, $6)",
            [canvas_id], ["one"], [1], [], [0], [early.update],
        )  # fmt: skip
        assert revision == 1
        waiting = asyncio.create_task(client.append(late))
        await until_blocked(tables)
        assert (await client.load(canvas_id)).revision == 0
        await transaction.commit()
        assert await waiting == [Committed(canvas_id, 2)]
    assert (await client.load(canvas_id)).updates == (early.update, late.update)


async def test_commit_aborted_by_a_deadlock_is_repeated(client: Client, tables: Tables) -> None:
    """An append that PostgreSQL aborts because of a deadlock is repeated. Proves R-STATE-1."""
    lock = "SELECT 1 FROM canvas WHERE id = $1 FOR UPDATE"
    victim = None
    async with asyncio.timeout(30):
        while victim != "append":
            first, second = sorted([await client.create(), await client.create()])
            entries = [Pen(canvas_id, "holder").draw("a") for canvas_id in (first, second)]
            async with tables.transaction():
                await tables.execute(lock, second)
                append = asyncio.create_task(client.append(*entries))
                await until_blocked(tables)
                try:
                    await tables.execute(lock, first)
                    victim = "append"
                except asyncpg.DeadlockDetectedError:
                    # PostgreSQL checks once for each waiting transaction whether it is in a deadlock. It checked the
                    # append before the deadlock existed, and therefore aborted the test's transaction: try again.
                    victim = "test"
            assert await append == [Committed(first, 1), Committed(second, 1)]
