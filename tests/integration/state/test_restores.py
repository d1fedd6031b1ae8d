"""Restores of versions, with real holders. A restore is one edit of its caller, and another restore undoes it."""

import asyncio
import contextlib
import dataclasses
import random
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from svgx_collab.channels import Channels
from svgx_collab.content import imports
from svgx_collab.content.imports import Imports
from svgx_collab.held_canvas import WaitingRequest
from svgx_common.contract.collab import ImportSvgRequest
from svgx_common.contract.errors import SvgxError, Unavailable
from svgx_common.contract.storage.events import VersionRestored
from svgx_common.contract.storage.versions import VersionKind
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_state.history import restores
from svgx_workers.pool import Workers
from tests.integration.collab.replica import Editor
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.history_steps import (
    collab_replica,
    create_version,
    list_versions,
    past_content,
    restore_version,
)
from tests.integration.state.service import Client, Tables, replica, user

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="5"/></svg>'


@pytest.fixture(scope="module")
async def state(backing: DevStack) -> AsyncIterator[None]:
    """A running state replica."""
    async with replica(backing, version_quiet_seconds=86400, version_busy_seconds=86400):
        yield


@pytest.fixture
async def editor(client: Client, state: None) -> Editor:
    """An editor of a new canvas."""
    return Editor(client.bus, await client.create())


async def test_restore_is_an_edit_of_its_caller_and_is_undone_by_a_restore(
    backing: DevStack, client: Client, editor: Editor, tables: Tables
) -> None:
    """A restore makes a version of the earlier content. Restoring this version undoes the restore. Proves R-HIST-10."""
    canvas_id, caller = editor.canvas_id, user()
    async with collab_replica(backing):
        await editor.set("a", "1")
        wanted = await create_version(client, canvas_id)
        await editor.set("a", "2")
        await editor.set("b", "3")
        restored = await restore_version(client, canvas_id, wanted.id, caller)
        assert await editor.held() == {"a": "1"}
        assert restored.revision == 4
        before = restored.before
        assert (before.kind, before.revision, before.created_by) == (
            VersionKind.BEFORE_RESTORE,
            3,
            caller.user_id,
        )
        authors = await tables.fetchval(
            "SELECT authors FROM journal WHERE canvas_id = $1 AND revision = 4", canvas_id
        )
        assert authors == [caller.user_id]
        undone = await restore_version(client, canvas_id, before.id)
        assert await editor.held() == {"a": "2", "b": "3"}
        assert undone.revision == 5
        # Nothing has to change now, so there is no further edit.
        assert (await restore_version(client, canvas_id, before.id)).revision == 5
        kinds = [each.kind for each in (await list_versions(client, canvas_id)).items]
        assert kinds == ["before_restore"] * 3 + ["named"]
        events = await tables.fetch(
            "SELECT data ->> 'revision' AS revision FROM event WHERE type = 'version.restored'"
            " AND data ->> 'canvas_id' = $1 ORDER BY revision",
            canvas_id,
        )
        assert [row["revision"] for row in events] == ["4", "5"]


async def test_version_before_a_restore_has_the_edits_that_are_saved_meanwhile(
    backing: DevStack, client: Client, editor: Editor
) -> None:
    """Edits that the holder commits while the restore runs are in the version `before`. Proves R-HIST-10."""
    canvas_id = editor.canvas_id
    async with collab_replica(backing):
        await editor.set("a", "1")
        wanted = await create_version(client, canvas_id)
        drawing = asyncio.create_task(draw_on(editor))
        try:
            restored = await restore_version(client, canvas_id, wanted.id)
        finally:
            drawing.cancel()
        before = restored.before
        assert before.revision == restored.revision - 1
        assert before.authors == (["ann"] if before.revision > wanted.revision else [])
        content = elements([await past_content(client, canvas_id, version=before.id)])
        assert len(content) >= before.revision - 1


@pytest.mark.parametrize(
    ("saved_meanwhile", "expected"),
    [
        ([("bob",), ("cy", "ann")], ["ann", "bob", "cy"]),
        ([tuple(f"visitor {number:03}" for number in range(120))], 100),
        ([], ["ann"]),
    ],
)
async def test_version_before_a_restore_has_the_authors_of_edits_that_are_saved_meanwhile(
    fresh: FreshTables, saved_meanwhile: list[tuple[str, ...]], expected: list[str] | int
) -> None:
    """The authors are those since the version before, at most 100. The next version has the authors after it.

    Proves R-HIST-4 and R-HIST-10.
    """
    versions, canvas_id = fresh.versions(), await fresh.create()
    pen = Pen(canvas_id, "ann")
    await fresh.journal.append([pen.draw("a")])
    before = await versions.add(canvas_id, VersionKind.BEFORE_RESTORE, "rae")
    assert before is not None
    entries = [
        dataclasses.replace(pen.draw("b", secrets.token_hex(4)), authors=authors)
        for authors in (*saved_meanwhile, ("rae",))
    ]
    committed = await fresh.journal.append(entries)
    restored = VersionRestored(
        canvas_id=canvas_id, version_id=before.id, revision=committed[-1].revision
    )
    before = await versions.note_restored(before, restored, "rae")
    assert before.revision == restored.revision - 1
    assert (before.authors if isinstance(expected, list) else len(before.authors)) == expected
    later = await versions.add(canvas_id, VersionKind.NAMED, "rae", "later")
    assert later is not None
    assert later.authors == ["rae"]


async def test_large_restore_with_many_deletions_is_one_journal_entry(
    backing: DevStack, client: Client, editor: Editor, tables: Tables
) -> None:
    """A restore that adds megabytes and deletes thousands of elements is saved as a whole, and can be undone.

    The version `before` has nothing of the restore. Proves R-HIST-3, R-HIST-10 and R-HIST-11.
    """
    canvas_id, caller = editor.canvas_id, user()
    async with collab_replica(backing):
        large = {f"large{number}": f"{number}" * 60_000 for number in range(24)}
        await editor.send([editor.draw(*each) for each in large.items()])
        wanted = await create_version(client, canvas_id)
        await editor.send([editor.draw(key, "") for key in large])
        await editor.send([editor.draw(f"small{number}", "x") for number in range(3000)])
        old = await editor.held()
        restored = await restore_version(client, canvas_id, wanted.id, caller)
        assert await editor.held() == large
        entries = await tables.fetchval(
            "SELECT count(*) FROM journal WHERE canvas_id = $1 AND $2 = ANY (authors)",
            canvas_id,
            caller.user_id,
        )
        before = elements([await past_content(client, canvas_id, version=restored.before.id)])
        assert (entries, before == old) == (1, True)


async def test_version_before_a_restore_has_nothing_of_it_when_its_receipt_was_lost(
    backing: DevStack, client: Client, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edit is sent again, and others have drawn meanwhile. The restore can still be undone. Proves R-HIST-10."""
    monkeypatch.setattr(imports, "ATTEMPT_SECONDS", 0.5)
    canvas_id, answer, was_lost = editor.canvas_id, Channels.answer, asyncio.Event()

    async def lose_first(
        channels: Channels, request: WaitingRequest, revision: int, epoch: str
    ) -> None:
        """Send no receipt of the restore's first attempt, as during an outage of NATS."""
        if was_lost.is_set() or revision != 4:
            await answer(channels, request, revision, epoch)
        else:
            was_lost.set()

    async with collab_replica(backing):
        await editor.set("a", "1")
        wanted = await create_version(client, canvas_id)
        await editor.set("a", "2")
        await editor.set("b", "3")
        monkeypatch.setattr(Channels, "answer", lose_first)
        restore = asyncio.create_task(restore_version(client, canvas_id, wanted.id))
        await was_lost.wait()
        await Editor(client.bus, canvas_id).set("c", "4")
        restored = await restore
        assert await editor.held() == {"a": "1", "c": "4"}
        before = elements([await past_content(client, canvas_id, version=restored.before.id)])
        assert (before, restored.revision) == ({"a": "2", "b": "3"}, 4)


async def draw_on(editor: Editor) -> None:
    """Draw one element after the other."""
    for number in range(10_000):
        await editor.set(f"n{number}", "x")


async def test_restore_that_is_interrupted_changes_everything_or_nothing(
    backing: DevStack, client: Client, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the holder is killed in a restore, the saved content is all old or all new. Proves R-HIST-11.

    The holder is killed at a random point, three times. A later restore succeeds.
    """
    monkeypatch.setattr(restores, "REPLACE_SECONDS", 0.5)
    rng = random.Random(11)
    canvas_id = editor.canvas_id
    async with collab_replica(backing):
        await editor.send([editor.draw(f"k{number}", "old") for number in range(300)])
        old = await create_version(client, canvas_id)
        await editor.send([editor.draw(f"k{number}", "new") for number in range(300)])
    for _ in range(3):
        async with collab_replica(backing) as holder:
            await editor.sync()  # from now on, the holder has the canvas
            restore = asyncio.create_task(restore_version(client, canvas_id, old.id, timeout=2.0))
            await asyncio.wait([restore], timeout=rng.uniform(0.01, 0.15))
            await holder.crash()
            with contextlib.suppress(SvgxError):
                await restore
        kept = set(elements((await client.load(canvas_id)).updates).values())
        assert kept in ({"old"}, {"new"})
    async with collab_replica(backing):
        await restore_version(client, canvas_id, old.id)
        assert set((await editor.held()).values()) == {"old"}


async def test_restore_without_collab_fails_and_changes_nothing(
    client: Client, editor: Editor
) -> None:
    """The caller gets an error, because no holder applied the restore. Proves R-HIST-11."""
    version = await create_version(client, editor.canvas_id)
    with pytest.raises(Unavailable):
        await restore_version(client, editor.canvas_id, version.id)
    assert (await client.get(editor.canvas_id)).revision == 0


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[Workers]:
    """A worker process for imports."""
    async with Workers(1, 1024 * 1024 * 1024, 30) as workers:
        yield workers


@pytest.fixture
async def importer(backing: DevStack, workers: Workers) -> AsyncIterator[Imports]:
    """The `Imports` object of a collab replica, which the tests call directly."""
    bus = await Bus.connect(backing.nats_url("collab"), "collab", "importer")
    try:
        yield Imports(bus, workers)
    finally:
        await bus.close()


async def import_svg(importer: Imports, editor: Editor, svg: bytes = SVG) -> int:
    """Import a file, and return the revision."""
    request = ImportSvgRequest(canvas_id=editor.canvas_id).model_copy(update={"content": svg})
    imported = await importer.import_svg(request, Call(user(), time.time() + 60))
    return imported.revision


async def test_content_before_an_import_is_kept(
    backing: DevStack, client: Client, editor: Editor, importer: Imports
) -> None:
    """An import first makes a version of the content, with edits that were not saved yet. A refused file makes none.

    Proves R-HIST-12.
    """
    canvas_id = editor.canvas_id
    async with collab_replica(backing):
        await editor.set("a", "1")
        unsaved = asyncio.create_task(editor.send([editor.draw("b", "2")]))
        revision = await import_svg(importer, editor)
        await unsaved
        with pytest.raises(SvgxError):
            await import_svg(importer, editor, b"<svg")
        (before,) = (await list_versions(client, canvas_id)).items
        assert (before.kind, before.revision) == (VersionKind.BEFORE_IMPORT, revision - 1)
        content = elements([await past_content(client, canvas_id, version=before.id)])
        assert content == {"a": "1", "b": "2"}
        await restore_version(client, canvas_id, before.id)
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_import_succeeds_while_no_version_can_be_made(
    backing: DevStack, editor: Editor, importer: Imports, tables: Tables
) -> None:
    """While the table of versions is locked, an import succeeds without a version. Proves R-HIST-12."""
    async with collab_replica(backing):
        await editor.set("a", "1")
        async with tables.transaction():
            await tables.execute("LOCK TABLE version IN EXCLUSIVE MODE")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(imports, "VERSION_SECONDS", 0.3)
                assert await import_svg(importer, editor) == 2
        assert "a" not in await editor.held()
