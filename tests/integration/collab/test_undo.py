"""Undo and redo of changes of elements, with a real holder, real worker processes and Redis."""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from svgx_canvas import Undone
from svgx_collab.content import edit_history, element_edits
from svgx_collab.content.edit_history import LIFETIME_SECONDS, EditHistory, StoredStep
from svgx_collab.content.element_changes import ElementChanges
from svgx_collab.content.element_edits import ElementEdits
from svgx_common import redis
from svgx_common.contract.errors import (
    Conflict,
    DeadlineExceeded,
    Overloaded,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from svgx_common.contract.live.element_changes import ChangeElementsRequest
from svgx_common.contract.live.undo import EditUndone, UndoRequest, UndoStatus
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.redis import Redis
from svgx_devstack import DevStack
from svgx_workers.child import Child
from svgx_workers.errors import WorkerDied, WorkerTimeout
from svgx_workers.frames import Frame
from svgx_workers.jobs import Jobs
from svgx_workers.pool import Workers
from tests.integration.collab.replica import Editor, call, replica
from tests.integration.state.service import user


class Author:
    """A caller that changes elements of the editor's canvas."""

    def __init__(
        self, editor: Editor, changes: ElementChanges, caller: Caller | None = None
    ) -> None:
        self.caller = caller or user()
        self._changes = changes
        self._canvas_id = editor.canvas_id

    async def change(self, *operations: dict[str, Any], undo_group: str | None = None) -> None:
        """Send a request, and expect success."""
        fields = {
            "canvas_id": self._canvas_id,
            "operations": operations,
            "undo_group": undo_group,
        }
        request = ChangeElementsRequest.model_validate(fields)
        await self._changes.change_elements(request, call(caller=self.caller))

    async def create(self, identifier: str, **attrs: str) -> None:
        """Create an element."""
        await self.change({"op": "create", "id": identifier, "tag": "rect", "attrs": attrs})

    async def undo(self) -> EditUndone:
        """Undo the last edit."""
        return await self._changes.undo(
            UndoRequest(canvas_id=self._canvas_id), call(caller=self.caller)
        )

    async def redo(self) -> EditUndone:
        """Repeat the edit that was undone last."""
        return await self._changes.redo(
            UndoRequest(canvas_id=self._canvas_id), call(caller=self.caller)
        )

    async def status(self) -> UndoStatus:
        """Return the numbers of edits that can be undone and redone."""
        return await self._changes.status(
            UndoRequest(canvas_id=self._canvas_id), call(caller=self.caller)
        )


@pytest.fixture
def author(editor: Editor, changes: ElementChanges) -> Author:
    """Return an author on the editor's canvas."""
    return Author(editor, changes)


@pytest.fixture
def other_replica(bus: Bus, workers: Workers, redis_client: Redis) -> ElementChanges:
    """Return the changes of elements on another replica."""
    return ElementChanges(ElementEdits(bus, workers), EditHistory(redis_client))


async def test_edits_are_undone_and_redone_one_by_one_on_any_replica(
    backing: DevStack, editor: Editor, author: Author, other_replica: ElementChanges
) -> None:
    """Proves R-UNDO-1 and R-UNDO-4."""
    on_other_replica = Author(editor, other_replica, author.caller)
    async with replica(backing):
        await author.create("one")
        await author.create("two")
        undone = await on_other_replica.undo()
        assert undone == EditUndone(
            revision=3, changed=["two"], skipped=[], undo_count=1, redo_count=1
        )
        assert (await editor.held()).keys() == {"one"}
        assert (await author.undo()).undo_count == 0
        assert await editor.held() == {}
        with pytest.raises(Conflict):
            await author.undo()
        assert (await on_other_replica.redo()).changed == ["one"]
        redone = await author.redo()
        assert redone == EditUndone(
            revision=6, changed=["two"], skipped=[], undo_count=2, redo_count=0
        )
        assert (await editor.held()).keys() == {"one", "two"}
        with pytest.raises(Conflict):
            await author.redo()


async def test_new_edit_forgets_the_undone_edits(
    backing: DevStack, editor: Editor, author: Author
) -> None:
    """Proves R-UNDO-4."""
    async with replica(backing):
        await author.create("one")
        await author.undo()
        await author.create("two")
        with pytest.raises(Conflict):
            await author.redo()
        assert (await editor.held()).keys() == {"two"}


def resize(width: int) -> dict[str, Any]:
    """Return an operation that sets the width of the element `one`."""
    return {"op": "update", "id": "one", "attrs": {"width": str(width)}}


async def test_edits_of_an_undo_group_are_undone_and_redone_together(
    backing: DevStack, editor: Editor, author: Author, other_replica: ElementChanges
) -> None:
    """Two replicas receive the edits. Edits of other groups, and of none, are undone one by one. Proves R-UNDO-9."""
    on_other_replica = Author(editor, other_replica, author.caller)
    async with replica(backing):
        await author.create("one", width="1")
        for width in (2, 4, 6):
            await author.change(resize(width), undo_group="drag-1")
            await on_other_replica.change(resize(width + 1), undo_group="drag-1")
        await author.change(resize(8), undo_group="drag-2")
        await author.change(resize(9))
        assert (await author.status()).undo_count == 4
        for count, left in ((3, "8"), (2, "7"), (1, "1")):
            undone = await author.undo()
            held = await editor.held()
            assert (undone.undo_count, held["one"]["attrs"]) == (count, {"width": left})
        redone = await author.redo()
        held = await editor.held()
        assert (redone.redo_count, held["one"]["attrs"]) == (2, {"width": "7"})


async def test_edit_after_an_undo_begins_a_new_step_of_its_undo_group(
    backing: DevStack, editor: Editor, author: Author
) -> None:
    """The undo has ended the step of the group. Proves R-UNDO-9."""
    async with replica(backing):
        await author.create("one", width="1")
        await author.change(resize(2), undo_group="drag")
        await author.undo()
        await author.redo()
        await author.change(resize(3), undo_group="drag")
        await author.undo()
        assert (await editor.held())["one"]["attrs"] == {"width": "2"}


async def test_undo_of_another_edit_ends_the_step_of_an_undo_group(
    backing: DevStack, editor: Editor, author: Author
) -> None:
    """The edit after the undo does not follow the group's edits directly. Proves R-UNDO-9."""
    async with replica(backing):
        await author.create("one", width="1")
        await author.change(resize(2), undo_group="drag")
        await author.create("two")
        await author.undo()
        await author.change(resize(3), undo_group="drag")
        assert (await author.status()).undo_count == 3
        await author.undo()
        assert (await editor.held())["one"]["attrs"] == {"width": "2"}
        await author.undo()
        assert (await editor.held())["one"]["attrs"] == {"width": "1"}


@contextlib.contextmanager
def creation_after_reading(author: Author, identifier: str) -> Iterator[None]:
    """Let the author create an element after the newest step was read, and before the step is used."""
    newest = EditHistory.newest

    async def newest_before_an_edit(history: EditHistory, *place: Any) -> StoredStep | None:
        step = await newest(history, *place)
        await author.create(identifier)
        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EditHistory, "newest", newest_before_an_edit)
        yield


async def test_edit_during_the_edit_of_an_undo_group_has_a_step_of_its_own(
    backing: DevStack, editor: Editor, author: Author
) -> None:
    """The other edit comes after the group's newest step was read. Proves R-UNDO-9."""
    async with replica(backing):
        await author.create("one", width="1")
        await author.change(resize(2), undo_group="drag")
        with creation_after_reading(author, "two"):
            await author.change(resize(3), undo_group="drag")
        assert (await author.status()).undo_count == 4
        await author.undo()
        assert (await editor.held())["one"]["attrs"] == {"width": "2"}


async def test_each_account_undoes_its_own_edits(
    backing: DevStack, editor: Editor, author: Author, changes: ElementChanges
) -> None:
    """The visitors of a share link have one id, so their edits cannot be undone. Proves R-UNDO-1 and R-UNDO-6."""
    visitor = Author(editor, changes, Caller.of_link("link"))
    other = Author(editor, changes)
    async with replica(backing):
        await author.create("one")
        await other.create("two")
        await visitor.create("three")
        await author.undo()
        assert (await editor.held()).keys() == {"two", "three"}
        for each in (author, visitor):
            with pytest.raises(Conflict):
                await each.undo()


async def test_undos_at_the_same_time_undo_one_edit_each_in_their_order(
    backing: DevStack, editor: Editor, author: Author
) -> None:
    """Proves R-UNDO-1."""
    async with replica(backing):
        await author.create("one", width="1")
        for width in "234":
            await author.change({"op": "update", "id": "one", "attrs": {"width": width}})
        undone = await asyncio.gather(*(author.undo() for _ in range(3)))
        assert sorted(each.undo_count or 0 for each in undone) == [1, 2, 3]
        assert all(each.changed == ["one"] for each in undone)
        assert (await editor.held())["one"]["attrs"] == {"width": "1"}


async def test_undo_after_the_kill_of_a_replica_waits_for_the_end_of_its_turn(
    backing: DevStack,
    editor: Editor,
    author: Author,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A killed replica neither renews its turn nor ends it. Proves R-UNDO-1."""
    killed = EditHistory(redis_client)
    async with replica(backing):
        await author.create("one")
        with monkeypatch.context() as patch:
            patch.setattr(edit_history, "TURN_SECONDS", 0.3)
            patch.setattr(edit_history, "RENEWAL_SECONDS", 1000.0)
            async with killed.turn(editor.canvas_id, author.caller.user_id):
                assert (await author.undo()).changed == ["one"]


async def test_long_undo_keeps_its_turn(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica renews the turn. Proves R-UNDO-1."""
    monkeypatch.setattr(edit_history, "TURN_SECONDS", 0.3)
    monkeypatch.setattr(edit_history, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(edit_history, "WAIT_SECONDS", 1.0)
    history, place = EditHistory(redis_client), (secrets.token_hex(8), "account")
    async with history.turn(*place):
        with pytest.raises(Overloaded):
            async with EditHistory(redis_client).turn(*place):
                pass


async def test_undos_of_an_account_beyond_the_bound_are_refused(
    backing: DevStack, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would occupy the slots of other accounts while they wait. Proves R-UNDO-8."""
    monkeypatch.setattr(edit_history, "MAX_TURNS", 2)
    async with replica(backing):
        for each in ("one", "two", "three"):
            await author.create(each)
        results = await asyncio.gather(*(author.undo() for _ in range(3)), return_exceptions=True)
        refused = [each for each in results if isinstance(each, TooManyRequests)]
        assert [(each.limit, bool(each.retry_after)) for each in refused] == [(2, True)]
        assert (await author.undo()).undo_count == 0


async def test_undo_that_cannot_be_saved_can_be_tried_again(
    backing: DevStack, editor: Editor, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-UNDO-5."""

    async def refuse(*_: object) -> int:
        raise DeadlineExceeded

    async with replica(backing):
        await author.create("one")
        with monkeypatch.context() as patch:
            patch.setattr(element_edits, "save_edit", refuse)
            with pytest.raises(DeadlineExceeded):
                await author.undo()
        assert (await author.undo()).changed == ["one"]
        assert await editor.held() == {}


async def test_refused_undo_leaves_the_history(
    backing: DevStack, editor: Editor, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edit before it can be undone. Proves R-UNDO-5."""

    async def die(_: Child, job: Frame) -> Frame:
        raise WorkerDied("the process ended by signal 9")

    async with replica(backing):
        await author.create("one")
        await author.create("two")
        with monkeypatch.context() as patch:
            patch.setattr(Child, "run", die)
            with pytest.raises(TooLarge):
                await author.undo()
        assert (await author.undo()).changed == ["one"]
        assert (await editor.held()).keys() == {"two"}


async def test_undo_passes_over_edits_that_would_change_nothing(
    backing: DevStack, author: Author, changes: ElementChanges, editor: Editor
) -> None:
    """Another account has deleted the element since. Proves R-UNDO-4."""
    other = Author(editor, changes)
    async with replica(backing):
        await author.create("one")
        await author.create("two")
        for width in "23":
            await author.change({"op": "update", "id": "two", "attrs": {"width": width}})
        await other.change({"op": "delete", "id": "two"})
        undone = await author.undo()
        assert (undone.changed, undone.undo_count, undone.redo_count) == (["one"], 0, 1)
        await author.create("three")
        await other.change({"op": "delete", "id": "three"})
        with pytest.raises(Conflict):
            await author.undo()
        assert await author.status() == UndoStatus(undo_count=0, redo_count=0)


async def test_undo_that_lacks_time_after_edits_without_effect_can_be_tried_again(
    backing: DevStack,
    author: Author,
    changes: ElementChanges,
    editor: Editor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The edits without effect have used up the time of the request. Proves R-UNDO-5."""
    other = Author(editor, changes)
    undo = Jobs.undo

    async def be_slow_to_undo_a_creation(jobs: Jobs, *arguments: Any) -> Undone:
        undone = await undo(jobs, *arguments)
        if undone.changed:
            raise WorkerTimeout(1.0)
        return undone

    async with replica(backing):
        await author.create("one")
        await author.create("two")
        await other.change({"op": "delete", "id": "two"})
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "undo", be_slow_to_undo_a_creation)
            with pytest.raises(DeadlineExceeded):
                await author.undo()
        assert (await author.undo()).changed == ["one"]


async def test_edit_with_a_large_step_ends_the_history(
    backing: DevStack, editor: Editor, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-UNDO-6."""
    monkeypatch.setattr(edit_history, "MAX_BYTES", 2000)
    async with replica(backing):
        await author.create("one")
        await author.create("two", d=secrets.token_hex(4000))
        await author.change({"op": "delete", "id": "two"})
        with pytest.raises(Conflict):
            await author.undo()
        await author.create("three")
        assert (await author.undo()).changed == ["three"]


@pytest.mark.parametrize(("name", "limit"), [("MAX_STEPS", 3), ("MAX_BYTES", 300)])
async def test_oldest_edits_beyond_a_limit_of_the_history_cannot_be_undone(
    backing: DevStack,
    author: Author,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    limit: int,
) -> None:
    """Proves R-UNDO-6."""
    monkeypatch.setattr(edit_history, name, limit)
    created = [f"e{number}" for number in range(8)]
    async with replica(backing):
        for each in created:
            await author.create(each)
        undone = (await author.undo()).changed
        while (last := await author.undo()).undo_count:
            undone += last.changed
        undone += last.changed
        assert 2 <= len(undone) < len(created)
        assert undone == created[::-1][: len(undone)]


async def test_history_of_an_unused_canvas_is_forgotten(
    backing: DevStack, editor: Editor, author: Author, redis_client: Redis
) -> None:
    """Each undo and redo renews the time of both directions. Proves R-UNDO-6."""
    account = author.caller.user_id
    keys = [f"svgx:{direction}:{editor.canvas_id}:{account}" for direction in ("undo", "redo")]
    async with replica(backing):
        for each in ("one", "two", "three"):
            await author.create(each)
        await author.undo()
        for reverse in (author.undo, author.redo):
            for key in keys:
                await redis_client.expire(key, 100)
            await reverse()
            for key in keys:
                left = await redis_client.ttl(key)
                assert LIFETIME_SECONDS - 60 <= left <= LIFETIME_SECONDS


async def test_edits_without_redis_are_saved_and_cannot_be_undone(
    backing: DevStack, bus: Bus, workers: Workers, editor: Editor
) -> None:
    """Proves R-UNDO-7."""
    client = redis.connect("redis://127.0.0.1:1/0")
    changes = ElementChanges(ElementEdits(bus, workers), EditHistory(client))
    author = Author(editor, changes)
    async with replica(backing):
        await author.create("one")
        await author.change(resize(2), undo_group="drag")
        assert (await editor.held()).keys() == {"one"}
        for attempt in (author.undo, author.redo, author.status):
            with pytest.raises(Unavailable) as refused:
                await attempt()
            assert refused.value.retry_after
    await client.aclose()


async def test_edit_during_an_undo_forgets_the_undone_edit(
    backing: DevStack, editor: Editor, author: Author
) -> None:
    """The undo has read the history already. Proves R-UNDO-4."""
    async with replica(backing):
        await author.create("one")
        with creation_after_reading(author, "two"):
            undone = await author.undo()
        assert (undone.changed, undone.undo_count, undone.redo_count) == (["one"], 1, 0)
        with pytest.raises(Conflict):
            await author.redo()
        assert (await editor.held()).keys() == {"two"}
