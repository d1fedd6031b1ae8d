"""Changes of elements, with a real holder and real worker processes."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from svgx_collab.bounds import Bounds, Limits
from svgx_collab.content import imports
from svgx_collab.content.element_changes import ElementChanges
from svgx_common.contract.errors import (
    Conflict,
    DeadlineExceeded,
    Invalid,
    NotFound,
    SvgxError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from svgx_common.contract.live.element_changes import (
    CHANGE_ELEMENTS,
    ChangeElementsRequest,
    ElementsChanged,
)
from svgx_devstack import DevStack
from svgx_workers.child import Child
from svgx_workers.errors import WorkerDied
from svgx_workers.frames import Frame
from svgx_workers.pool import Workers
from tests.integration.collab.replica import Editor, Replica, call, replica
from tests.integration.state.service import user

RECT = {"op": "create", "id": "wall", "tag": "rect", "attrs": {"width": "5"}}
WALL = {"tag": "rect", "parent": "", "order": "a0", "attrs": {"width": "5"}}


def request(editor: Editor, *operations: dict[str, Any]) -> ChangeElementsRequest:
    """Return a request to change elements of the editor's canvas."""
    fields = {"canvas_id": editor.canvas_id, "operations": operations or (RECT,)}
    return ChangeElementsRequest.model_validate(fields)


async def journal_authors(backing: DevStack, canvas_id: str) -> list[list[str]]:
    """Return the authors of each of the canvas's journal entries."""
    connection = await asyncpg.connect(backing.postgres_url)
    try:
        rows = await connection.fetch(
            "SELECT authors FROM state.journal WHERE canvas_id = $1 ORDER BY revision", canvas_id
        )
    finally:
        await connection.close()
    return [row["authors"] for row in rows]


async def test_changes_are_one_saved_edit_of_their_caller(
    backing: DevStack, editor: Editor, changes: ElementChanges
) -> None:
    """All operations are one entry of the journal, which is committed before the answer. Proves R-ELEMENT-3."""
    caller = user()
    async with replica(backing):
        await editor.set("old", "x")
        operations: list[dict[str, Any]] = [
            RECT,
            {"op": "create", "tag": "g"},
            {"op": "update", "id": "wall"},
        ]
        changed = await changes.change_elements(request(editor, *operations), call(caller=caller))
        assert (changed.revision, changed.created[0], len(changed.created)) == (2, "wall", 2)
        assert await journal_authors(backing, editor.canvas_id) == [["ann"], [caller.user_id]]
        held = await editor.held()
        assert held.keys() == {"old", *changed.created}
        assert held["wall"] == WALL
        # A further request sees the elements. It has no effect, so there is no further entry.
        again = await changes.change_elements(request(editor, operations[2]), call(caller=caller))
        assert again == ElementsChanged(revision=2, created=[])


@pytest.mark.parametrize(
    "case",
    [
        ({"op": "delete", "id": "none"}, NotFound, "operations[1].id", None),
        (RECT, Conflict, "operations[1].id", None),
        ({"op": "create", "tag": "script"}, Invalid, "operations[1].tag", None),
        (
            {"op": "update", "id": "wall", "attrs": {f"data-{n}": "" for n in range(1024)}},
            Invalid,
            "operations[1].attrs",
            1024,
        ),
    ],
)
async def test_refused_changes_change_nothing(
    backing: DevStack,
    editor: Editor,
    changes: ElementChanges,
    case: tuple[dict[str, Any], type[SvgxError], str, int | None],
) -> None:
    """The canvas has none of the operations, and the error names the field of the request. Proves R-ELEMENT-1."""
    operation, error, field, limit = case
    async with replica(backing):
        await editor.set("old", "x")
        with pytest.raises(error) as refused:
            await changes.change_elements(request(editor, RECT, operation), call())
        assert (refused.value.field, refused.value.limit) == (field, limit)
        assert await editor.held() == {"old": "x"}
        assert await journal_authors(backing, editor.canvas_id) == [["ann"]]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(canvas_structs=1), TooLarge("", limit=1)),
        (Limits(canvas_clients=0), TooLarge("", limit=0)),
        (Limits(account_seconds=5, account_share=0.001), TooManyRequests("", retry_after=1000)),
    ],
)
async def test_changes_that_a_bound_refuses_state_the_limit_or_the_seconds_to_wait(
    backing: DevStack, editor: Editor, changes: ElementChanges, limits: Limits, expected: SvgxError
) -> None:
    """The edit has the bounds of all edits of its author. Proves R-ELEMENT-7."""
    bounds, caller = Bounds(limits), user()
    if expected.retry_after:
        bounds.spend(caller.user_id, 6.0, time.monotonic())
    async with replica(backing, bounds=bounds):
        with pytest.raises(type(expected)) as refused:
            await changes.change_elements(request(editor), call(caller=caller))
        assert refused.value.limit == expected.limit
        assert refused.value.retry_after == pytest.approx(expected.retry_after, abs=60)
        assert await editor.held() == {}


async def test_changes_share_the_workers_of_imports(
    backing: DevStack,
    editor: Editor,
    changes: ElementChanges,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An account gets 429 beyond its share of the workers. If its worker is killed, it gets 413. Proves R-ELEMENT-7."""
    busy = user()

    async def die(_: Child, job: Frame) -> Frame:
        raise WorkerDied("the process ended by signal 9")

    async with replica(backing):
        async with workers.turn(busy.user_id):
            with pytest.raises(TooManyRequests) as refused:
                await changes.change_elements(request(editor), call(caller=busy))
            assert (refused.value.limit, refused.value.retry_after) == (1, 2.0)
        with monkeypatch.context() as patch:
            patch.setattr(Child, "run", die)
            with pytest.raises(TooLarge):
                await changes.change_elements(request(editor), call(caller=busy))
        assert await editor.held() == {}
        await changes.change_elements(request(editor), call(caller=busy))


@pytest.mark.parametrize("committed", [False, True])
async def test_changes_survive_the_loss_of_the_holder(
    backing: DevStack,
    editor: Editor,
    changes: ElementChanges,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    """The edit is sent again to the next holder, and counts once. Proves R-ELEMENT-7.

    The first holder is killed before it gets the edit, or after it has committed the edit and before it answers.
    """
    run = Child.run
    killed: list[Replica] = []
    tasks: list[asyncio.Task[None]] = []

    async def kill(holder: Replica) -> None:
        killed.append(holder)
        await holder.crash()

    async with replica(backing) as one:
        await editor.set("old", "x")

        async def run_and_kill(child: Child, job: Frame) -> Frame:
            result = await run(child, job)
            if committed:
                kill_before_answer(one)
            else:
                await kill(one)
            return result

        def kill_before_answer(holder: Replica) -> None:
            connection = holder.bus.connection
            publish = connection.publish

            async def publish_or_crash(subject: str, *arguments: Any, **options: Any) -> None:
                if subject.startswith("_INBOX.gateway"):
                    tasks.append(asyncio.create_task(kill(holder)))
                    return
                await publish(subject, *arguments, **options)

            monkeypatch.setattr(connection, "publish", publish_or_crash)

        monkeypatch.setattr(Child, "run", run_and_kill)
        async with replica(backing):
            changed = await changes.change_elements(request(editor), call())
            assert changed == ElementsChanged(revision=2, created=["wall"])
            assert await editor.held() == {"old": "x", "wall": WALL}
            assert len(await journal_authors(backing, editor.canvas_id)) == 2
            assert killed == [one]


async def test_changes_end_before_the_deadline_of_their_caller(
    editor: Editor,
    changes: ElementChanges,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The steps of a change have the time limits of an import. Proves R-ELEMENT-7."""
    for name, seconds in (("SYNC_SECONDS", 1.0), ("MARGIN_SECONDS", 0.5)):
        monkeypatch.setattr(imports, name, seconds)
    before_worker = imports.QUEUE_SECONDS + imports.SYNC_SECONDS
    assert before_worker + imports.SAVE_SECONDS + 20 <= CHANGE_ELEMENTS.timeout
    async with asyncio.timeout(10.0):
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await changes.change_elements(request(editor), call(14.0))
