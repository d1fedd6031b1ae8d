"""Replacements of a canvas's content, with a real holder and real worker processes."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from pycrdt import Doc, Map

from svgx_collab.content.replacements import Replacements
from svgx_common.contract.collab import (
    REPLACE_CONTENT,
    ReplaceContentRequest,
    Replaced,
)
from svgx_common.contract.errors import Invalid, TooLarge, TooManyRequests
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Responder
from svgx_devstack import DevStack
from svgx_workers.child import Child
from svgx_workers.errors import WorkerDied
from svgx_workers.frames import Frame
from svgx_workers.pool import Workers
from tests.integration.collab.replica import Editor, Replica, replica


@pytest.fixture
async def holder(backing: DevStack, workers: Workers) -> AsyncIterator[Replica]:
    """Yield a replica that answers requests to replace content."""
    async with replica(backing) as running:
        responder = Responder(running.bus, "0")
        responder.answer(REPLACE_CONTENT, Replacements(running.bus, workers).replace_content)
        await responder.join()
        await running.bus.settle()
        yield running
        await responder.drain()


@pytest.fixture
async def state_bus(backing: DevStack) -> AsyncIterator[Bus]:
    """Yield a connection with the permissions of the state service."""
    bus = await Bus.connect(backing.nats_url("state"), "state", secrets.token_hex(6))
    try:
        yield bus
    finally:
        await bus.close()


async def replace(bus: Bus, editor: Editor, content: bytes, author: str = "bea") -> Replaced:
    """Ask collab to replace the content of the editor's canvas."""
    request = ReplaceContentRequest(canvas_id=editor.canvas_id, author=author)
    return await bus.ask(REPLACE_CONTENT, request.model_copy(update={"content": content}))


async def authors(backing: DevStack, canvas_id: str) -> list[str]:
    """Return the authors of the canvas's journal entries, in the order of the revisions."""
    connection = await asyncpg.connect(backing.postgres_url)
    try:
        rows = await connection.fetch(
            "SELECT unnest(authors) AS author FROM state.journal WHERE canvas_id = $1 ORDER BY revision",
            canvas_id,
        )
    finally:
        await connection.close()
    return [row["author"] for row in rows]


async def test_replacement_is_saved_as_one_edit_of_its_author(
    holder: Replica, state_bus: Bus, backing: DevStack, editor: Editor
) -> None:
    """The holder has the requested content, and the journal has one more entry. Proves R-HIST-3."""
    await editor.set("old", "x")
    past = editor.doc.get_update()
    await editor.set("new", "y")
    assert await replace(state_bus, editor, past) == Replaced(revision=3, changed=True)
    assert await editor.held() == {"old": "x"}
    assert await authors(backing, editor.canvas_id) == ["ann", "ann", "bea"]
    # A repeated replacement changes nothing, so there is no further entry.
    assert await replace(state_bus, editor, past) == Replaced(revision=3, changed=False)


async def test_replacement_merges_with_an_edit_that_the_client_makes_meanwhile(
    holder: Replica, state_bus: Bus, editor: Editor
) -> None:
    """An edit that arrives after the replacement keeps its effect. Proves R-HIST-2."""
    await editor.set("old", "x")
    past = editor.doc.get_update()
    await editor.set("new", "y")
    later = editor.draw("later", "z")
    await replace(state_bus, editor, past)
    await editor.send([later])
    assert await editor.held() == {"old": "x", "later": "z"}


async def test_content_is_replaced_by_large_content(
    holder: Replica, state_bus: Bus, editor: Editor
) -> None:
    """Content that is larger than a message is sent in pieces. Proves R-HIST-3."""
    wanted: Doc[Any] = Doc()
    elements = wanted.get("elements", type=Map)
    with wanted.transaction():
        for index in range(40):
            elements[f"e{index}"] = secrets.token_hex(20_000)
    await replace(state_bus, editor, wanted.get_update())
    assert await editor.held() == elements.to_py()


async def test_refused_replacement_changes_nothing(
    holder: Replica,
    state_bus: Bus,
    editor: Editor,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Malformed content, a killed worker and a full queue raise different errors. The canvas keeps its content.

    Proves R-HIST-1 and R-HIST-3.
    """
    await editor.set("old", "x")
    with pytest.raises(Invalid) as invalid:
        await replace(state_bus, editor, b"no update")
    assert invalid.value.field == "content"
    past = Doc[Any]().get_update()

    async def die(_: Child, job: Frame) -> Frame:
        raise WorkerDied("the process ended by signal 9")

    with monkeypatch.context() as patch:
        patch.setattr(Child, "run", die)
        with pytest.raises(TooLarge):
            await replace(state_bus, editor, past)
    async with workers.turn("bea"):
        with pytest.raises(TooManyRequests):
            await replace(state_bus, editor, past)
    assert await editor.held() == {"old": "x"}
