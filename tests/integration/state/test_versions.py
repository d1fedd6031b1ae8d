"""Versions: names, automatic versions, deletion with age, bounds, and the end of the journal's retention."""

import asyncio
import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Conflict, Invalid, NotFound, SvgxError
from svgx_common.contract.storage import versions
from svgx_common.contract.storage.versions import Version, VersionKind
from svgx_common.postgres import Session
from svgx_devstack import DevStack
from svgx_state.history.automatic import AutomaticVersions
from svgx_state.history.expiry import Expiry
from svgx_state.history.past import Past
from svgx_state.journal.retention import Retention
from svgx_state.snapshots import Compactor
from svgx_workers.pool import Workers
from tests.blocked import until_blocked
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.history_steps import (
    create_version,
    list_versions,
    past_content,
    rename_version,
)
from tests.integration.state.service import Client, Tables, replica
from tests.integration.state.vault import tables_of
from tests.polling import pause

NEVER = {"version_quiet_seconds": 86400, "version_busy_seconds": 86400}
"""Settings with which no automatic version is made during a test."""


async def until_versions(client: Client, canvas_id: str, number: int) -> list[Version]:
    """Wait until a canvas has this number of versions, and return them, newest first."""
    async with asyncio.timeout(20):
        while len(found := (await list_versions(client, canvas_id)).items) < number:
            await pause()
    return found


async def until_version_of(client: Client, canvas_id: str, revision: int) -> list[Version]:
    """Wait until the newest version has this revision. Return all versions, newest first: one of each revision."""
    async with asyncio.timeout(20):
        while (found := await until_versions(client, canvas_id, 1))[0].revision < revision:
            await pause()
    revisions = [each.revision for each in found]
    assert revisions[0] == revision
    assert revisions == sorted(set(revisions), reverse=True)
    return found


async def test_named_version_has_the_authors_since_the_version_before(
    backing: DevStack, client: Client
) -> None:
    """A version has its revision, its creator, and the authors of the edits since the last version. Proves R-HIST-4."""
    async with replica(backing, **NEVER):
        canvas_id = await client.create()
        empty = await create_version(client, canvas_id, "empty")
        assert (empty.revision, empty.authors) == (0, [])
        pens = [Pen(canvas_id, name) for name in ("bob", "ann", "cy")]
        await client.append(pens[0].draw("a"))
        await client.append(pens[1].draw("b"), pens[0].draw("c"))
        first = await create_version(client, canvas_id, "  first  ")
        await client.append(pens[2].draw("d"))
        second = await create_version(client, canvas_id, "second")
        again = await create_version(client, canvas_id, "again")
        assert (first.revision, first.authors) == (3, ["ann", "bob"])
        assert (second.revision, second.authors) == (4, ["cy"])
        assert (again.revision, again.authors) == (4, [])
        assert (first.name, first.kind, first.created_by) == ("first", "named", client.me.user_id)
        assert first.edited_at < first.at < second.edited_at < second.at
        assert again.edited_at == second.edited_at
        page = await list_versions(client, canvas_id, limit=3)
        rest = await list_versions(client, canvas_id, limit=3, cursor=page.next)
        assert [*page.items, *rest.items] == [again, second, first, empty]
        assert rest.next is None
        content = await past_content(client, canvas_id, version=first.id)
        assert elements([content]) == {"a": "x", "b": "x", "c": "x"}


async def test_version_made_after_the_clock_was_set_back_follows_that_of_the_highest_revision(
    fresh: FreshTables,
) -> None:
    """The previous version is the one with the highest revision, even if an older version has a later time.

    A version has the authors since the previous version. A canvas without new edits gets no automatic version. Proves
    R-HIST-4 and R-HIST-6.
    """
    table = fresh.versions()
    canvas_id = await fresh.create()
    pens = [Pen(canvas_id, name) for name in ("ann", "bob", "cy")]
    await fresh.journal.append([pens[0].draw("a")])
    assert await table.add(canvas_id, VersionKind.NAMED, "ann", "first") is not None
    await fresh.tables.execute("UPDATE version SET at = at + interval '1 hour'")
    await fresh.journal.append([pens[1].draw("b")])
    assert await table.add(canvas_id, VersionKind.NAMED, "bob", "second") is not None
    automatic = AutomaticVersions(fresh.database, table, quiet_seconds=0, busy_seconds=0)
    await automatic.make(canvas_id)
    await fresh.journal.append([pens[2].draw("c")])
    third = await table.add(canvas_id, VersionKind.NAMED, "cy", "third")
    assert third is not None
    assert third.authors == ["cy"]
    made = "SELECT array_agg(revision ORDER BY revision) FROM version"
    assert await fresh.tables.fetchval(made) == [1, 2, 3]


async def test_version_of_another_canvas_is_unknown(backing: DevStack, client: Client) -> None:
    """The id of a version is valid only for the version's canvas, in each operation. Proves R-HIST-13."""
    async with replica(backing, **NEVER):
        mine, other = await client.create(), await client.create()
        version = await create_version(client, other)
        request = versions.VersionRequest(canvas_id=mine, version_id=version.id)
        ask = functools.partial(client.bus.ask, caller=client.me)
        attempts: list[Callable[[], Awaitable[object]]] = [
            functools.partial(ask, operation, request)
            for operation in (
                versions.GET_VERSION,
                versions.DELETE_VERSION,
                versions.RESTORE_VERSION,
                versions.THUMBNAIL,
            )
        ]
        attempts += [
            functools.partial(rename_version, client, mine, version.id, "x"),
            functools.partial(past_content, client, mine, version=version.id),
            functools.partial(
                ask,
                versions.DIFF_VERSION,
                versions.DiffRequest(canvas_id=mine, version_id=version.id),
            ),
        ]
        for attempt in attempts:
            with pytest.raises(NotFound):
                await attempt()
        assert (await list_versions(client, other)).items == [version]
        with pytest.raises(NotFound):
            await create_version(client, "unknown")


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\x00b", "a\u202eb", "a\nb"])
def test_unusable_name_is_refused(name: str) -> None:
    """A name has 1 to 200 visible characters, like the name of a canvas. Proves R-HIST-5."""
    with pytest.raises(ValueError, match="name"):
        versions.CreateVersionRequest(canvas_id="c", name=name)


async def test_named_versions_are_bounded_in_number_and_kept(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """A canvas has a bounded number of named versions. A deletion makes room for another one. Proves R-HIST-5."""
    async with replica(backing, **NEVER, version_max_named=2, version_max_unnamed=1):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "ann")
        kept = await create_version(client, canvas_id)
        await create_version(client, canvas_id)
        with pytest.raises(Conflict) as refused:
            await create_version(client, canvas_id)
        assert refused.value.limit == 2
        automatic = await insert_version(tables, canvas_id, "automatic", timedelta(0))
        with pytest.raises(Conflict):
            await rename_version(client, canvas_id, automatic, "good")
        # Renaming a named version does not increase the number of named versions.
        await rename_version(client, canvas_id, kept.id, "renamed")
        request = versions.VersionRequest(canvas_id=canvas_id, version_id=kept.id)
        await client.bus.ask(versions.DELETE_VERSION, request, caller=client.me)
        named = await rename_version(client, canvas_id, automatic, "good")
        assert (named.kind, named.name) == ("automatic", "good")
        # The automatic version has a name now, so it does not count as a version without a name any more.
        made = []
        for _ in range(3):
            await client.append(pen.draw(secrets.token_hex(4)))
            before = versions.VersionBeforeImportRequest(canvas_id=canvas_id, user_id="ann")
            made.append(await client.bus.ask(versions.VERSION_BEFORE_IMPORT, before))
        unnamed = await list_versions(client, canvas_id, named=False)
        assert unnamed.items == made[-1:]
        assert automatic in [
            each.id for each in (await list_versions(client, canvas_id, named=True)).items
        ]
        with pytest.raises(Invalid):
            await list_versions(client, canvas_id, cursor="bm90IGEgY3Vyc29y")


async def test_automatic_version_is_made_when_the_editors_pause(
    backing: DevStack, client: Client, own_database: str
) -> None:
    """Two replicas make one version of a canvas after its last edit, and none without an edit. Proves R-HIST-6.

    On a busy machine, a pause between two edits may also be long enough for a version.
    """
    settings: dict[str, Any] = {"version_quiet_seconds": 0.4, "version_busy_seconds": 3600}
    settings["postgres_url"] = own_database
    async with replica(backing, **settings), replica(backing, **settings):
        canvas_id, untouched = await client.create(), await client.create()
        pen = Pen(canvas_id, "ann")
        for number in range(12):  # both replicas commit some of them
            await client.append(pen.draw(str(number)))
        made = await until_version_of(client, canvas_id, 12)
        for version in made:
            assert (version.kind, version.name, version.created_by) == ("automatic", None, None)
        assert {author for version in made for author in version.authors} == {"ann"}
        await client.append(pen.draw("more"))
        newest, *others = await until_version_of(client, canvas_id, 13)
        assert (newest.authors, others) == (["ann"], made)
        assert (await list_versions(client, untouched)).items == []


async def test_automatic_version_is_made_while_the_editors_do_not_pause(
    backing: DevStack, client: Client, own_database: str
) -> None:
    """A canvas that is edited without pauses gets a version at intervals. Proves R-HIST-6."""
    settings = {"version_quiet_seconds": 3600, "version_busy_seconds": 0.5}
    async with replica(backing, **settings, postgres_url=own_database):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "ann")
        async with asyncio.timeout(20):
            while len((await list_versions(client, canvas_id)).items) < 2:
                await client.append(pen.draw(secrets.token_hex(4)))
                await pause()


@pytest.mark.parametrize("earlier", ["dropped", "versioned and dropped", "quarantined", "none"])
async def test_automatic_version_is_made_without_the_first_entry_after_the_last_version(
    fresh: FreshTables, compactor: Compactor, earlier: str
) -> None:
    """The busy time counts from the first entry that the journal has after the last version. Proves R-HIST-6.

    `earlier` names the fate of an earlier entry.
    """
    table = fresh.versions()
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "ann")
    if earlier != "none":
        await fresh.journal.append([pen.draw("old")])
    if earlier == "versioned and dropped":
        await table.add(canvas_id, VersionKind.AUTOMATIC)
        await fresh.tables.execute("UPDATE version SET edited_at = edited_at - interval '5 days'")
        await fresh.journal.append([pen.draw("older than the retention")])
    if earlier == "quarantined":
        await fresh.tables.execute("DELETE FROM journal")
    elif earlier != "none":
        await fresh.pass_days(5)
        await Retention(fresh.database, compactor, days=2).drop(datetime.now(UTC))
    await fresh.journal.append([pen.draw("a")])
    await fresh.pass_days()
    await fresh.journal.append([pen.draw("b")])
    for busy_seconds, number in ((2 * 86400, 0), (86400, 1)):
        automatic = AutomaticVersions(
            fresh.database, table, quiet_seconds=10 * 86400, busy_seconds=busy_seconds
        )
        await automatic.make(canvas_id)
        made = "SELECT count(*) FROM version v JOIN canvas c ON c.revision = v.revision"
        assert await fresh.tables.fetchval(made) == number


async def test_automatic_version_is_made_after_the_end_of_its_replica(
    backing: DevStack, client: Client, own_database: str
) -> None:
    """A new replica makes the versions that the previous replica had not made when it ended. Proves R-HIST-6."""
    async with replica(backing, **NEVER, postgres_url=own_database):
        canvas_id = await client.create()
        await client.append(Pen(canvas_id, "ann").draw("a"))
    async with replica(backing, version_quiet_seconds=0.2, postgres_url=own_database):
        (version,) = await until_versions(client, canvas_id, 1)
        assert version.revision == 1


async def test_version_that_ended_with_its_journal_is_not_made_again(
    backing: DevStack, client: Client, own_database: str
) -> None:
    """A new replica makes no version of a canvas without edits within the retention, also if it was renamed since.

    Proves R-HIST-6 and R-HIST-7.
    """
    async with replica(backing, **NEVER, postgres_url=own_database):
        old, renamed, new = [await client.create() for _ in range(3)]
        for canvas_id in (old, renamed, new):
            await client.append(Pen(canvas_id, "ann").draw("a"))
    async with tables_of(own_database) as tables:
        await tables.execute(
            "UPDATE canvas SET updated_at = now() - interval '3 days' WHERE id = $1", old
        )
        await tables.execute("DELETE FROM journal WHERE canvas_id = ANY($1)", [old, renamed])
    settings = {"version_quiet_seconds": 0.2, "journal_retention_days": 2}
    async with replica(backing, **settings, postgres_url=own_database):
        await until_versions(client, new, 1)
        for canvas_id in (old, renamed):
            assert (await list_versions(client, canvas_id)).items == []


async def insert_version(tables: Tables, canvas_id: str, kind: str, age: timedelta) -> str:
    """Insert a version of this age without a name, and return its id."""
    identifier = secrets.token_hex(8)
    await tables.execute(
        "INSERT INTO version (id, canvas_id, revision, kind, authors, at, edited_at)"
        " VALUES ($1, $2, $3, $4, '{}', clock_timestamp() - $5::interval, now())",
        *(identifier, canvas_id, secrets.randbelow(2**40), kind, age),
    )
    return identifier


async def test_versions_are_thinned_with_their_age(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Of old automatic versions, one stays for each hour. Of still older versions, one stays for each day.

    Versions with a name stay. Proves R-HIST-7.
    """
    async with replica(backing, **NEVER, version_all_hours=1, version_hourly_hours=24):
        canvas_id, other = await client.create(), await client.create()
        now = datetime.now(UTC)
        hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
        made = {
            (kind, minute, base): await insert_version(
                tables, canvas_id, kind, now - base - timedelta(minutes=minute)
            )
            for base in (hour, day)
            for kind in ("automatic", "before_restore")
            for minute in (10, 50, 70)
        }
        recent = [
            await insert_version(tables, canvas_id, "automatic", timedelta(minutes=minute))
            for minute in (1, 2, 30)
        ]
        of_other_canvas = [
            await insert_version(tables, other, "automatic", timedelta(days=4, minutes=minute))
            for minute in range(3)
        ]
        named = await insert_version(tables, canvas_id, "automatic", timedelta(days=4))
        await rename_version(client, canvas_id, named, "kept")
        await create_version(client, canvas_id)
        kept = {each.id for each in (await list_versions(client, canvas_id)).items}
        hourly = {made["automatic", minute, hour] for minute in (50, 70)}
        undo = {made["before_restore", minute, hour] for minute in (10, 50, 70)}
        # For each day, one version is kept, of any kind. The two newest of the day were made at the same time, so
        # either of them may be kept.
        daily = {made["automatic", 70, day], made["before_restore", 70, day]}
        assert kept >= {*recent, named, *hourly, *undo}
        assert len(kept & daily) == 1
        assert not kept & ({*made.values()} - hourly - undo - daily)
        assert {each.id for each in (await list_versions(client, other)).items} == {
            *of_other_canvas
        }


async def test_deleted_automatic_version_is_made_again_only_after_an_edit(
    backing: DevStack, client: Client
) -> None:
    """A replica that starts after the deletion finds no edit without a version. Proves R-HIST-6."""
    quick = {"version_quiet_seconds": 0.2, "version_busy_seconds": 86400}
    async with replica(backing, **quick):
        canvas_id, other = await client.create(), await client.create()
        pen = Pen(canvas_id, "ann")
        await client.append(pen.draw("a"))
        (made,) = await until_versions(client, canvas_id, 1)
        request = versions.VersionRequest(canvas_id=canvas_id, version_id=made.id)
        await client.bus.ask(versions.DELETE_VERSION, request, caller=client.me)
    async with replica(backing, **NEVER):
        await client.append(Pen(other, "ann").draw("b"))
    async with replica(backing, **quick):
        await until_versions(client, other, 1)
        assert (await list_versions(client, canvas_id)).items == []
        await client.append(pen.draw("c"))
        (made,) = await until_versions(client, canvas_id, 1)
        assert (made.revision, made.authors) == (2, ["ann"])


async def test_oldest_versions_beyond_the_bound_are_deleted(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """A canvas has at most `VERSION_MAX_UNNAMED` versions without a name. Proves R-HIST-7."""
    async with replica(backing, **NEVER, version_max_unnamed=3):
        canvas_id = await client.create()
        made = [
            await insert_version(tables, canvas_id, "automatic", timedelta(minutes=minute))
            for minute in range(6)
        ]
        await create_version(client, canvas_id)
        unnamed = await list_versions(client, canvas_id, named=False)
        assert [each.id for each in unnamed.items] == made[:3]


async def test_named_version_outlives_the_journal(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """`Expiry.before_drop` stores the content of versions with a name, and deletes other versions.

    The retention awaits this hook before it drops a day of the journal. Proves R-HIST-5.
    """
    async with replica(backing, **NEVER):
        canvas_id, deleted = await client.create(), await client.create()
        pen = Pen(canvas_id, "ann")
        await client.append(pen.draw("a"))
        named = await create_version(client, canvas_id, "kept")
        unnamed = await insert_version(tables, canvas_id, "automatic", timedelta(0))
        await create_version(client, deleted)
        await client.delete(deleted)
        moment = datetime.now(UTC)
        await client.append(pen.draw("b"))
        later = await create_version(client, canvas_id, "later")
        async with (
            postgres.connect(
                backing.postgres_url, schema="state", package="svgx_state", pool_size=2
            ) as database,
            Workers(1, 1024 * 1024 * 1024, 30) as workers,
        ):
            hook = Expiry(database, Past(database), workers).before_drop
            await hook(moment)
            await hook(moment)
        await tables.execute("DELETE FROM journal WHERE canvas_id = $1", canvas_id)
        found = {each.id for each in (await list_versions(client, canvas_id)).items}
        assert found == {named.id, later.id}
        assert unnamed not in found
        assert elements([await past_content(client, canvas_id, version=named.id)]) == {"a": "x"}
        with pytest.raises(NotFound, match="does not have revision 2"):
            await past_content(client, canvas_id, version=later.id)


async def test_named_version_with_a_time_after_the_clock_outlives_the_journal(
    fresh: FreshTables, compactor: Compactor, workers: Workers
) -> None:
    """A version that was made while the clock was 40 days ahead keeps its content. Proves R-HIST-5."""
    table = fresh.versions()
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "ann")
    await fresh.journal.append([pen.draw("a")])
    version = await table.add(canvas_id, VersionKind.NAMED, "ann", "kept")
    assert version is not None
    await fresh.tables.execute("UPDATE version SET at = at + interval '40 days'")
    await fresh.journal.append([pen.draw("b")])
    await fresh.pass_days(5)
    await fresh.tables.execute(
        "UPDATE version SET at = at - interval '5 days', edited_at = edited_at - interval '5 days'"
    )
    hook = Expiry(fresh.database, Past(fresh.database), workers).before_drop
    retention = Retention(fresh.database, compactor, days=2, before_drop=[hook])
    assert await retention.drop(datetime.now(UTC))
    content = await table.content(canvas_id, version.id)
    assert elements(content.updates) == {"a": "x"}


async def expire_and_name(fresh: FreshTables, workers: Workers, place: int) -> tuple[int, bool]:
    """Run the hook, and name an old version after `place` statements of the hook.

    Check that a named version has its content without the journal. Return the number of the hook's statements, and
    whether the version could be named.
    """
    await fresh.clear()
    table = fresh.versions()
    canvas_id = await fresh.create()
    await fresh.journal.append([Pen(canvas_id, "ann").draw("a")])
    version = await table.add(canvas_id, VersionKind.AUTOMATIC)
    assert version is not None
    statements, named = 0, False
    session = fresh.database.session

    @asynccontextmanager
    async def watched() -> AsyncIterator[Session]:
        nonlocal statements, named
        if statements == place:
            row = await fresh.tables.fetchrow("UPDATE version SET name = 'kept' RETURNING id")
            named = row is not None
        statements += 1
        async with session() as opened:
            yield opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh.database, "session", watched)
        await Expiry(fresh.database, Past(fresh.database), workers).before_drop(datetime.now(UTC))
    await fresh.tables.execute("DELETE FROM journal")
    if named:
        content = await table.content(canvas_id, version.id)
        assert elements(content.updates) == {"a": "x"}, place
    else:
        assert await fresh.tables.fetchval("SELECT count(*) FROM version") == 0
    return statements, named


async def test_version_that_is_named_during_the_expiry_is_kept_or_unknown(
    fresh: FreshTables, workers: Workers
) -> None:
    """A version is named before each statement of the hook in turn. It keeps its content, or the naming fails.

    Proves R-HIST-5.
    """
    outcomes, place, statements = [], 0, 1
    while place < statements:
        statements, named = await expire_and_name(fresh, workers, place)
        outcomes.append(named)
        place += 1
    assert outcomes[0]
    assert not outcomes[-1]


async def test_canvas_that_is_removed_during_the_expiry_does_not_end_it(
    fresh: FreshTables, workers: Workers
) -> None:
    """The content of the other canvas's version is kept. Proves R-HIST-5."""
    table, kept = fresh.versions(), []
    canvas_ids = [await fresh.create() for _ in range(2)]
    for canvas_id in canvas_ids:
        await fresh.journal.append([Pen(canvas_id, "ann").draw("a")])
        kept.append(await table.add(canvas_id, VersionKind.NAMED, "ann", "kept"))
    hook = Expiry(fresh.database, Past(fresh.database), workers).before_drop
    async with asyncio.timeout(30), fresh.tables.transaction():
        # The hook waits with the content of the first version, because a removal locks the canvas first.
        await fresh.tables.execute("SELECT FROM canvas WHERE id = $1 FOR UPDATE", canvas_ids[0])
        running = asyncio.create_task(hook(datetime.now(UTC)))
        await until_blocked(fresh.tables)
        places = ("version WHERE canvas_id", "canvas_member WHERE canvas_id", "canvas WHERE id")
        for deleted in places:
            await fresh.tables.execute(f"DELETE FROM {deleted} = $1", canvas_ids[0])
    await running
    assert kept[1] is not None
    assert elements((await table.content(canvas_ids[1], kept[1].id)).updates) == {"a": "x"}
    rows = await fresh.tables.fetch("SELECT canvas_id FROM version_content")
    assert [row["canvas_id"] for row in rows] == canvas_ids[1:]


async def test_content_of_a_revision_is_kept_once_for_all_its_versions(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Named versions of one revision share its content, until the last of them is deleted. Proves R-HIST-5."""
    count_contents = "SELECT count(*) FROM version_content WHERE canvas_id = $1"
    async with replica(backing, **NEVER):
        canvas_id = await client.create()
        pen = Pen(canvas_id, "ann")
        await client.append(pen.draw("a"))
        same = [await create_version(client, canvas_id, f"name {number}") for number in range(3)]
        await client.append(pen.draw("b"))
        other = await create_version(client, canvas_id, "other")
        async with (
            postgres.connect(
                backing.postgres_url, schema="state", package="svgx_state", pool_size=2
            ) as database,
            Workers(1, 1024 * 1024 * 1024, 30) as workers,
        ):
            await Expiry(database, Past(database), workers).before_drop(datetime.now(UTC))
        await tables.execute("DELETE FROM journal WHERE canvas_id = $1", canvas_id)
        assert await tables.fetchval(count_contents, canvas_id) == 2
        sum_bytes = "SELECT sum(octet_length(content)) FROM version WHERE canvas_id = $1"
        assert await tables.fetchval(sum_bytes, canvas_id) == 0
        for number, version in enumerate(same):
            content = await past_content(client, canvas_id, version=version.id)
            assert elements([content]) == {"a": "x"}
            request = versions.VersionRequest(canvas_id=canvas_id, version_id=version.id)
            await client.bus.ask(versions.DELETE_VERSION, request, caller=client.me)
            assert await tables.fetchval(count_contents, canvas_id) == (1 if number == 2 else 2)
        assert elements([await past_content(client, canvas_id, version=other.id)]) == {
            "a": "x",
            "b": "x",
        }


async def test_version_of_a_deleted_canvas_is_not_made(
    backing: DevStack, client: Client, own_database: str
) -> None:
    """A canvas gets no automatic version after its deletion, and the replica keeps running. Proves R-HIST-6."""
    async with replica(backing, version_quiet_seconds=0.2, postgres_url=own_database):
        gone, canvas_id = await client.create(), await client.create()
        await client.append(Pen(gone, "ann").draw("a"), Pen(canvas_id, "ann").draw("a"))
        await client.delete(gone)
        await until_versions(client, canvas_id, 1)
        before = versions.VersionBeforeImportRequest(canvas_id=gone, user_id="ann")
        with pytest.raises(SvgxError) as refused:
            await client.bus.ask(versions.VERSION_BEFORE_IMPORT, before)
        assert refused.value.status == 404
        assert VersionKind.AUTOMATIC in {
            each.kind for each in (await list_versions(client, canvas_id)).items
        }
