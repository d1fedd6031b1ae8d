"""The Yjs clients of changes of elements, with a real holder and real worker processes."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pycrdt import Doc, Map

from svgx_collab import room
from svgx_collab.bounds import Bounds, Limits
from svgx_collab.content import element_edits, imports
from svgx_collab.content.element_changes import ElementChanges
from svgx_common.contract.collab import CANVAS_AWARENESS, AuthoredState, Edit
from svgx_common.contract.errors import DeadlineExceeded, NotFound, Overloaded, TooManyRequests
from svgx_common.contract.live.element_changes import ChangeElementsRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_devstack import DevStack
from svgx_yjs.structure import read_state_vector
from tests.integration.collab.replica import Editor, call, replica
from tests.integration.state.service import user
from tests.polling import pause

SaveEdit = Callable[..., Awaitable[int]]


class Author:
    """A caller, and a replica that computes its changes. `patch` replaces steps of the replica until the test ends."""

    def __init__(self, editor: Editor, changes: ElementChanges, patch: pytest.MonkeyPatch) -> None:
        self.editor = editor
        self.caller: Caller = user()
        self.saved: list[str] = []
        """The ids of the elements that were reported as created and saved."""
        self._changes = changes
        self._patch = patch

    async def change(self, *operations: dict[str, Any]) -> None:
        """Send a request, and expect success."""
        fields = {"canvas_id": self.editor.canvas_id, "operations": operations}
        request = ChangeElementsRequest.model_validate(fields)
        changed = await self._changes.change_elements(request, call(caller=self.caller))
        self.saved += changed.created

    async def create(self, identifier: str) -> None:
        """Create an element."""
        await self.change({"op": "create", "id": identifier, "tag": "rect"})

    async def clients(self) -> set[int]:
        """Return the ids of the Yjs clients of the holder's document, without that of the editor."""
        return set(read_state_vector((await self.editor.sync()).state_vector)) - {
            self.editor.doc.client_id
        }

    def replace_save(self, save: SaveEdit) -> None:
        """Let `save` save the edits."""
        self._patch.setattr(element_edits, "save_edit", save)

    def restore_save(self) -> None:
        self.replace_save(imports.save_edit)


@pytest.fixture
def author(editor: Editor, changes: ElementChanges, monkeypatch: pytest.MonkeyPatch) -> Author:
    """Return an author on the editor's canvas."""
    return Author(editor, changes, monkeypatch)


async def test_requests_in_a_row_make_one_yjs_client(backing: DevStack, author: Author) -> None:
    """So requests use up no bound of new clients. A Yjs client gets all edits. Proves R-ELEMENT-8."""
    async with replica(backing, bounds=Bounds(Limits(account_clients=1))):
        for number in range(20):
            await author.create(f"j{number}")
        with pytest.raises(NotFound):
            await author.change({"op": "delete", "id": "none"})
        await author.create("last")
        assert len(await author.clients()) == 1
        assert set(await author.editor.held()) == set(author.saved)
        assert len(author.saved) == 21


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("cancelled", [True, False])
async def test_edit_of_unknown_fate_and_the_next_edit_both_take_effect(
    backing: DevStack, author: Author, arrives: bool, cancelled: bool
) -> None:
    """The next request uses a new Yjs client. The first edit arrives before it or after it. Proves R-ELEMENT-8."""
    late: list[Edit] = []
    sent = asyncio.Event()

    async def lose_answer(bus: Bus, canvas_id: str, edit: Edit, *rest: Any) -> int:
        if arrives:
            await imports.save_edit(bus, canvas_id, edit, *rest)
        late.append(edit)
        sent.set()
        if cancelled:
            await asyncio.Event().wait()
        raise DeadlineExceeded

    async with replica(backing):
        await author.create("first")
        clients = await author.clients()
        author.replace_save(lose_answer)
        lost = asyncio.create_task(author.create("lost"))
        await sent.wait()
        if cancelled:
            lost.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else DeadlineExceeded):
            await lost
        author.restore_save()
        await author.create("next")
        await author.editor.send([each.update for each in late])
        await author.create("last")
        assert set(await author.editor.held()) == {"first", "lost", "next", "last"}
        assert len(await author.clients() - clients) == 1


async def test_rejected_edit_ends_the_use_of_its_yjs_client(
    backing: DevStack, author: Author
) -> None:
    """A rejection may leave a part of the edit at the holder. Proves R-ELEMENT-8."""
    bounds = Bounds(Limits(account_seconds=5, account_share=0.001))
    async with replica(backing, bounds=bounds):
        await author.create("first")
        bounds.spend(author.caller.user_id, 6.0, time.monotonic())
        with pytest.raises(TooManyRequests):
            await author.create("refused")
    async with replica(backing):
        await author.create("next")
        assert set(await author.editor.held()) == {"first", "next"}
        assert len(await author.clients()) == 2


async def test_concurrent_requests_of_one_author_both_take_effect(
    backing: DevStack, author: Author
) -> None:
    """They use two Yjs clients, and later requests use these two again. Proves R-ELEMENT-8."""
    both = asyncio.Barrier(2)

    async def save_together(*arguments: Any) -> int:
        await both.wait()
        return await imports.save_edit(*arguments)

    async with replica(backing):
        author.replace_save(save_together)
        for number in range(3):
            one = asyncio.create_task(author.create(f"one{number}"))
            await wait_until_computed(both)
            await asyncio.gather(one, author.create(f"other{number}"))
        assert set(await author.editor.held()) == set(author.saved)
        assert len(author.saved) == 6
        assert len(await author.clients()) == 2


async def wait_until_computed(barrier: asyncio.Barrier) -> None:
    """Wait until an edit waits to be saved. Then its request has left the worker."""
    async with asyncio.timeout(20):
        while not barrier.n_waiting:
            await pause()


async def claim(editor: Editor, client: int) -> None:
    """Show a Yjs client as the client of another user, and wait until the holder knows it."""
    state = AuthoredState("eve", client, 1, "{}", 1)
    await editor.bus.broadcast(CANVAS_AWARENESS, state, canvas_id=editor.canvas_id)
    async with asyncio.timeout(20):
        while len((await editor.sync()).awareness) < 2:
            await pause()


async def test_yjs_client_that_another_user_claims_stays_in_use(
    backing: DevStack, author: Author
) -> None:
    """The holder knows the author of the client's first structs. Proves R-ELEMENT-8 and R-BOUND-9."""
    async with replica(backing):
        await author.create("first")
        (client,) = await author.clients()
        await claim(author.editor, client)
        await author.create("next")
        assert set(await author.editor.held()) == {"first", "next"}
        assert await author.clients() == {client}


async def test_yjs_client_that_another_user_claims_at_a_new_holder_is_not_used_again(
    backing: DevStack, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edit is refused, and the next one has a new Yjs client. Proves R-ELEMENT-8 and R-BOUND-9."""
    monkeypatch.setattr(room, "NEW_SECONDS", -1.0)
    editor = author.editor
    async with replica(backing):
        await author.create("first")
    async with replica(backing):
        (client,) = await author.clients()
        await claim(editor, client)
        with pytest.raises(Overloaded):
            await author.create("refused")
        await author.create("next")
        assert set(await editor.held()) == {"first", "next"}
        assert len(await author.clients()) == 2


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_saved_edits_of_requests_and_of_a_yjs_client_are_never_lost(
    backing: DevStack, author: Author, seed: int
) -> None:
    """Requests, edits of a Yjs client, lost answers and crashes of the holder follow in a random order.

    A Yjs client that follows gets each element that was reported as saved. Proves R-ELEMENT-3 and R-ELEMENT-8.
    """
    rng = random.Random(seed)
    editor, drawn = author.editor, []

    async def lose_answer(*arguments: Any) -> int:
        await imports.save_edit(*arguments)
        raise DeadlineExceeded

    for crash in (True, True, False):
        async with replica(backing) as holder:
            for _ in range(12):
                name = secrets.token_hex(4)
                match rng.randrange(5):
                    case 0 | 1:
                        await author.create(name)
                    case 2:
                        await editor.set(name, "x")
                        drawn.append(name)
                    case 3:
                        editor.doc.apply_update((await editor.sync()).update)
                    case _:
                        author.replace_save(lose_answer)
                        with pytest.raises(DeadlineExceeded):
                            await author.create(name)
                        author.restore_save()
                        author.saved.append(name)
            follower: Doc[Any] = Doc()
            follower.apply_update((await editor.sync()).update)
            elements = set(follower.get("elements", type=Map).keys())
            assert elements == {*author.saved, *drawn}
            if crash:
                await holder.crash()
