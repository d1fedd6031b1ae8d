"""Deleted canvases: lists, restore, and the removal of all their rows in steps."""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Conflict, Forbidden, NotFound, SvgxError
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Canvas, CanvasRequest, Entry
from svgx_common.contract.storage.deletion import PURGE_CANVAS, RESTORE_CANVAS, Purged
from svgx_common.messaging.caller import Caller
from svgx_common.postgres import Database
from svgx_devstack import DevStack
from svgx_state.deletion import purge as purge_module
from svgx_state.deletion.purge import Purge
from tests.blocked import until_blocked
from tests.integration.pages import all_pages
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.service import Client, Tables, replica, user

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(scope="module")
async def service(backing: DevStack) -> AsyncIterator[None]:
    """A replica that removes no canvases in the background after its first search, because the tests do that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(purge_module, "PERIOD_SECONDS", 3600.0)
        async with replica(backing):
            yield


TABLES = (
    "canvas_member",
    "journal",
    "snapshot",
    "share_link",
    "version",
    "quarantine",
    "journal_writer",
    "canvas_usage",
    "canvas_size",
)
"""The tables from which `PURGED_TABLES` removes rows."""

KEPT_TABLES = {
    "erasure": "an erasure's position: its next step begins at this id, in the order of canvas ids",
    "backup": "a record about a backup",
    "restore": "a record about a restore",
    "restored_canvas": "a record about a restore",
    "purged_canvas": "the creation counts towards the quotas of its account for a day",
}
"""Tables with a column `canvas_id` that keep their rows, each with the reason."""


USED_ON = "2026-01-01"
"""A day on which no replica stores the use of a canvas."""


async def restore(client: Client, canvas_id: str, caller: Caller | None = None) -> Canvas:
    request = CanvasRequest(canvas_id=canvas_id)
    return await client.bus.ask(RESTORE_CANVAS, request, caller=caller or client.me)


async def purge(client: Client, canvas_id: str, caller: Caller | None = None) -> Purged:
    request = CanvasRequest(canvas_id=canvas_id)
    return await client.bus.ask(PURGE_CANVAS, request, caller=caller or user(Role.ADMIN))


async def fill(client: Client, canvas_id: str, entries: int = 3) -> None:
    """Commit journal entries of the canvas."""
    await client.append(
        *(Entry(canvas_id, "w", number, ("a",), b"\0\0") for number in range(1, entries + 1))
    )


async def backdate_deletion(tables: Tables, canvas_id: str, days: int) -> None:
    """Move the time of the canvas's deletion some days into the past."""
    await tables.execute(
        "UPDATE canvas SET deleted_at = deleted_at - make_interval(days => $2) WHERE id = $1",
        canvas_id,
        days,
    )


async def rows_of(tables: Tables, canvas_id: str) -> int:
    """Return the number of rows of a canvas in `canvas` and in `TABLES`.

    Leave out the table `canvas_size`, and count in `canvas_usage` only the rows of the day `USED_ON`, because the
    replica may add rows to both tables at any moment.
    """
    count = int(await tables.fetchval("SELECT count(*) FROM canvas WHERE id = $1", canvas_id))
    for table in TABLES:
        if table == "canvas_size":
            continue
        query = f"SELECT count(*) FROM {table} WHERE canvas_id = $1"
        if table == "canvas_usage":
            query += f" AND day = '{USED_ON}'"
        count += int(await tables.fetchval(query, canvas_id))
    return count


@pytest.fixture
async def database(backing: DevStack) -> AsyncIterator[Database]:
    """A connection pool for the service's tables. Canvases of other tests that are due are removed first."""
    async with postgres.connect(
        backing.postgres_url, schema="state", package="svgx_state", pool_size=4
    ) as database:
        remover = Purge(database, retention_days=30)
        while await remover.step() is not None:
            pass
        yield database


async def test_restored_canvas_has_its_content_members_and_links(client: Client) -> None:
    """Proves R-LIFE-10: a restored canvas is as before its deletion, and is on the usual lists again."""
    canvas_id, member = await client.create(), user()
    await client.set_member(canvas_id, member.user_id, CanvasRole.EDITOR)
    link = await client.link(canvas_id)
    await fill(client, canvas_id)
    before = await client.get(canvas_id)
    await client.delete(canvas_id)
    with pytest.raises(NotFound):
        await client.get(canvas_id)
    restored = await restore(client, canvas_id)
    assert restored == before
    assert await client.access(canvas_id, member) is CanvasRole.EDITOR
    assert await client.access(canvas_id, Caller.of_link(link.id)) is CanvasRole.VIEWER
    assert (await client.load(canvas_id)).revision == 3
    assert canvas_id in [each.id for each in (await client.page()).items]
    assert await restore(client, canvas_id) == before  # a second restore changes nothing


@pytest.mark.parametrize(
    ("account", "member", "error_deleted", "error_live"),
    [
        (Role.EDITOR, None, NotFound, Forbidden),
        (Role.EDITOR, CanvasRole.EDITOR, NotFound, Forbidden),
        (Role.EDITOR, CanvasRole.OWNER, None, None),
        (Role.VIEWER, CanvasRole.OWNER, NotFound, Forbidden),
        (Role.ADMIN, None, None, None),
    ],
)
async def test_deleted_canvas_is_shown_to_and_restored_by_owners_and_admins(
    client: Client,
    account: Role,
    member: CanvasRole | None,
    error_deleted: type[SvgxError] | None,
    error_live: type[SvgxError] | None,
) -> None:
    """Proves R-LIFE-10: for all other callers a deleted canvas does not exist."""
    canvas_id, caller = await client.create("to be deleted"), user(account)
    if member is not None:
        await client.set_member(canvas_id, caller.user_id, member)
    await client.delete(canvas_id)
    listed = await client.page(caller, deleted=True, limit=200)
    assert (canvas_id in [each.id for each in listed.items]) is (error_deleted is None)
    assert all(each.deleted_at is not None for each in listed.items)
    live = await client.page(caller, limit=200)
    assert canvas_id not in [each.id for each in live.items]
    if error_deleted is None:
        assert (await restore(client, canvas_id, caller)).deleted_at is None
        return
    with pytest.raises(error_deleted):
        await restore(client, canvas_id, caller)
    await restore(client, canvas_id)
    assert error_live is not None
    with pytest.raises(error_live):
        await restore(client, canvas_id, caller)


async def test_deleted_canvases_are_listed_once_in_pages(client: Client) -> None:
    """Proves R-LIFE-10: the pages have each deleted canvas once, newest first.

    The list can be searched, and has no live canvas.
    """
    name = secrets.token_hex(6)
    made = [await client.create(f"Plan {name} {number}") for number in range(5)]
    for canvas_id in made[:4]:
        await client.delete(canvas_id)
    pages = all_pages(
        lambda cursor: client.page(deleted=True, name=f"plan {name}", limit=3, cursor=cursor)
    )
    assert [each.id async for page in pages for each in page.items] == made[3::-1]


async def test_unknown_canvas_is_neither_restored_nor_removed(client: Client) -> None:
    """Proves R-LIFE-10 and R-LIFE-11: the answer is `not_found`. The removal of a live canvas is a `conflict`."""
    for operation in (restore, purge):
        with pytest.raises(NotFound):
            await operation(client, "unknown")
    with pytest.raises(Conflict):
        await purge(client, await client.create())


async def test_canvas_is_removed_after_its_retention(
    client: Client, tables: Tables, database: Database
) -> None:
    """Proves R-LIFE-11: a canvas deleted 29 days ago is kept, and a canvas deleted 31 days ago is removed."""
    old, young, live = [await client.create() for _ in range(3)]
    for canvas_id in (old, young, live):
        await fill(client, canvas_id)
        await client.link(canvas_id)
    await client.delete(old)
    await client.delete(young)
    await backdate_deletion(tables, old, 31)
    await backdate_deletion(tables, young, 29)
    await tables.execute(f"INSERT INTO canvas_usage VALUES ('{USED_ON}', $1, 7)", old)
    await tables.execute("INSERT INTO canvas_size VALUES ($1, 7) ON CONFLICT DO NOTHING", old)
    assert await rows_of(tables, old) == 7
    remover = Purge(database, retention_days=30)
    while await remover.step() is not None:
        pass
    assert await rows_of(tables, old) == 0
    assert await rows_of(tables, young) == await rows_of(tables, live) == 6
    with pytest.raises(NotFound):
        await restore(client, old)


async def test_removal_in_steps_continues_after_an_interruption(
    client: Client, tables: Tables, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-11: each step removes few rows, the canvas's own row last. After the first, a restore fails."""
    monkeypatch.setattr(purge_module, "STEP_ROWS", 4)
    canvas_id = await client.create()
    await fill(client, canvas_id, 10)
    await client.delete(canvas_id)
    await backdate_deletion(tables, canvas_id, 31)
    remaining = [await rows_of(tables, canvas_id)]
    remover = Purge(database, retention_days=30)
    step = await remover.step()
    assert step is not None
    assert (step.canvas_id, step.rows, step.finished) == (canvas_id, 4, False)
    with pytest.raises(Conflict):
        await restore(client, canvas_id)
    assert canvas_id not in [each.id for each in (await client.page(deleted=True)).items]
    # Another replica continues.
    successor = Purge(database, retention_days=30)
    while (step := await successor.step()) is not None:
        remaining.append(await rows_of(tables, canvas_id))
        assert step.rows <= 5
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] == 0


async def test_admin_removes_a_deleted_canvas_at_once(client: Client, tables: Tables) -> None:
    """Proves R-LIFE-11: the removal does not wait for the retention."""
    canvas_id = await client.create()
    await fill(client, canvas_id, 20)
    await client.delete(canvas_id)
    done = await purge(client, canvas_id)
    # At least 20 entries, the member and the canvas. The replica may also have stored rows of usage, which count too.
    assert done.finished
    assert done.rows >= 22
    assert await rows_of(tables, canvas_id) == 0


async def test_event_of_a_requested_removal_names_the_admin(
    client: Client, tables: Tables, database: Database
) -> None:
    """Only a removal that an account requests has an actor. Proves R-EVENT-1."""
    admin, requested, expired = user(Role.ADMIN), await client.create(), await client.create()
    await client.delete(requested)
    await client.delete(expired)
    await backdate_deletion(tables, expired, 31)
    assert (await purge(client, requested, admin)).finished
    remover = Purge(database, retention_days=30)
    while await remover.step() is not None:
        pass
    query = "SELECT array_agg(actor) FROM event WHERE entity_id = $1 AND type = 'canvas.purged'"
    assert await tables.fetchval(query, requested) == [admin.user_id]
    assert await tables.fetchval(query, expired) == [None]


async def test_late_edit_of_a_removed_canvas_leaves_no_row(
    client: Client, tables: Tables, database: Database
) -> None:
    """Proves R-LIFE-11: an append during the removal gets revision 0, or its row is removed too."""
    canvas_id = await client.create()
    await fill(client, canvas_id)
    await client.delete(canvas_id)
    remover = Purge(database, retention_days=30)
    await remover.begin(canvas_id)
    async with tables.transaction():
        await tables.execute("SELECT FROM canvas WHERE id = $1 FOR UPDATE", canvas_id)
        removing = asyncio.create_task(remover.step_of(canvas_id))
        await until_blocked(tables)
        late = asyncio.create_task(client.append(Entry(canvas_id, "late", 1, ("a",), b"\0\0")))
    step = await removing
    (committed,) = await late
    while not step.finished:
        step = await remover.step_of(canvas_id)
    assert await rows_of(tables, canvas_id) == 0
    assert committed.revision in (0, 4)


@pytest.mark.parametrize("table", ["journal", "quarantine"])
async def test_rows_that_an_erasure_changes_during_a_removal_are_removed(
    client: Client, tables: Tables, database: Database, table: str
) -> None:
    """Proves R-LIFE-11: the canvas's own row stays until the rows that an erasure changed meanwhile are removed too."""
    canvas_id = await client.create()
    await fill(client, canvas_id)
    if table == "quarantine":
        async with database.transaction() as session:
            for revision in range(1, 4):
                await session.run("quarantine_entry", canvas_id, revision, "a test", b"\0\0")
    await client.delete(canvas_id)
    remover = Purge(database, retention_days=30)
    await remover.begin(canvas_id)
    async with tables.transaction():
        await tables.execute(
            f"UPDATE {table} SET authors = array_replace(authors, 'a', 'p') WHERE canvas_id = $1",
            canvas_id,
        )
        removing = asyncio.create_task(remover.run(canvas_id, math.inf, "admin"))
        await until_blocked(tables)
    async with asyncio.timeout(30):
        assert (await removing).finished
    assert await rows_of(tables, canvas_id) == 0


async def test_only_one_replica_removes_in_the_background(
    client: Client, tables: Tables, database: Database
) -> None:
    """Proves R-LIFE-11: a step does nothing while another replica runs a step."""
    canvas_id = await client.create()
    await client.delete(canvas_id)
    await backdate_deletion(tables, canvas_id, 31)
    remover = Purge(database, retention_days=30)
    async with tables.transaction():
        await tables.execute("SELECT pg_advisory_xact_lock(hashtext('svgx.state.purge'))")
        assert await remover.step() is None
    assert await remover.step() is not None


@pytest.mark.parametrize(("query", "arguments"), [("begun_purge", []), ("due_purge", [30])])
async def test_search_for_a_canvas_to_remove_does_not_read_all_deleted_canvases(
    fresh: FreshTables, query: str, arguments: list[int]
) -> None:
    """Each step searches, so the search uses an index. Proves R-LIFE-11."""
    await fresh.tables.execute(
        "INSERT INTO canvas (id, name, created_by, deleted_at)"
        " SELECT 'canvas ' || number, '', 'ann', now() FROM generate_series(1, 5000) AS number"
    )
    await fresh.tables.execute("ANALYZE canvas")
    sql = postgres.load_queries("svgx_state")[query].sql
    rows = await fresh.tables.fetch(f"EXPLAIN (ANALYZE) {sql}", *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert "Scan using canvas_" in plan, plan
    assert "Rows Removed" not in plan, plan


async def test_rows_of_a_canvas_are_removed_from_every_table(tables: Tables) -> None:
    """Proves R-LIFE-11: the removal, or a foreign key, deletes the canvas's rows in each table with a `canvas_id`.

    Only the tables in `KEPT_TABLES` keep their rows.
    """
    found = await tables.fetch(
        "SELECT c.relname AS name, EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = c.oid"
        " AND f.confrelid = 'canvas'::regclass AND f.confdeltype = 'c') AS cascades"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'state'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND a.attname = 'canvas_id'"
    )
    missing = {row["name"] for row in found if not row["cascades"]} - {*TABLES, *KEPT_TABLES}
    assert missing == set(), "add the table to PURGED_TABLES and TABLES, or to KEPT_TABLES"
