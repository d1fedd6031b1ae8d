"""Holding canvases: opening, failover, leases, commits that have to wait."""

import asyncio

import pytest
from pycrdt import Doc, Map

from svgx_canvas.document import shared_document
from svgx_common.contract import subjects
from svgx_common.contract.errors import NotFound, SvgxError, Unavailable
from svgx_common.contract.state import JOURNAL_APPEND, JOURNAL_LOAD, AppendRequest, LoadRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import (
    Broadcast,
    Entry,
    decode_broadcast,
    decode_content,
    encode_entries,
)
from svgx_devstack import DevStack
from svgx_yjs.nesting import Nesting
from svgx_yjs.splitting import Split
from tests.integration.collab.replica import Drawer, replica

HARM = bytes.fromhex("0102070004010174016104000700016200")
"""A text in the root "t", and another inside of that text: pycrdt fails on it."""


def unchecked(update: bytes, *_: object) -> Split:
    """A check that lets everything through."""
    return Split(update, None, {}, Nesting())


async def committed(bus: Bus, canvas_id: str) -> dict[str, str]:
    """The content as PostgreSQL has it."""
    reply = await bus.ask(JOURNAL_LOAD, LoadRequest(canvas_id=canvas_id))
    doc: Doc[Map[str]] = Doc()
    elements = doc.get("elements", type=Map)
    for update in decode_content(reply.content).updates:
        doc.apply_update(update)
    return dict(elements.to_py() or {})


async def test_an_edit_is_broadcast_and_acknowledged_when_committed(
    backing: DevStack, bus: Bus, drawer: Drawer
) -> None:
    """Proves R-SAVE-2 and R-SYNC-7."""
    heard: asyncio.Queue[Broadcast] = asyncio.Queue()

    async def hear(_: str, content: bytes) -> None:
        heard.put_nowait(decode_broadcast(content))

    await bus.listen(subjects.canvas(drawer.canvas_id, "update"), hear)
    async with replica(backing):
        saved = await drawer.set("a", "1")
        assert await committed(bus, drawer.canvas_id) == {"a": "1"}
        assert (saved.revision, saved.rejected) == (1, ())
        first = await heard.get()
        await drawer.set("b", "2")
        second = await heard.get()
        assert (first.sequence, second.sequence) == (1, 2)
        assert first.epoch == second.epoch == (await drawer.sync()).epoch


async def test_an_unknown_canvas_is_not_held(backing: DevStack, bus: Bus, state: None) -> None:
    """Proves R-ACCESS-2."""
    async with replica(backing, answers_open=False) as one:
        with pytest.raises(NotFound):
            await one.rooms.open("nowhere")
        assert one.rooms.details()["held"] == 0


async def test_a_dead_holders_canvas_is_taken_over_at_once(
    backing: DevStack, drawer: Drawer
) -> None:
    """Proves R-FAIL-8: the lease of a holder that does not answer is not waited for."""
    async with replica(backing, answers_open=False) as one, replica(backing) as two:
        await one.rooms.open(drawer.canvas_id)
        await drawer.set("a", "1")
        with pytest.raises(Unavailable):
            await two.rooms.open(drawer.canvas_id)
        await one.die()
        await drawer.set("b", "2")
        assert two.rooms.details()["held"] == 1
        assert await drawer.held() == {"a": "1", "b": "2"}


async def test_a_stopping_replica_hands_over(backing: DevStack, bus: Bus, drawer: Drawer) -> None:
    """Proves R-FAIL-10: everything is committed, and the next replica needs no patience."""
    async with replica(backing, answers_open=False) as one:
        await one.rooms.open(drawer.canvas_id)
        await drawer.set("a", "1")
        await one.rooms.hand_over()
        assert one.rooms.details() == {"held": 0, "unsaved_bytes": 0}
        async with replica(backing):
            assert await drawer.held() == {"a": "1"}


async def test_without_redis_canvases_are_held_all_the_same(
    backing: DevStack, drawer: Drawer
) -> None:
    """Proves R-FAIL-7: Redis may vanish at the cost of speed only."""
    valkey = backing.process("valkey")
    async with replica(backing):
        valkey.pause()
        try:
            await drawer.set("a", "1")
            assert await drawer.held() == {"a": "1"}
        finally:
            valkey.resume()


async def test_a_replica_that_lost_its_lease_lets_go(backing: DevStack, drawer: Drawer) -> None:
    """Proves R-FAIL-13: what it had is committed, and whoever has the lease goes on from there."""
    async with replica(backing, answers_open=False) as one, replica(backing) as two:
        await one.rooms.open(drawer.canvas_id)
        await drawer.set("a", "1")
        await one.redis.set(f"svgx:lease:{drawer.canvas_id}", two.bus.replica_id)
        await one.rooms.renew()
        assert one.rooms.details()["held"] == 0
        await drawer.set("b", "2")
        assert two.rooms.details()["held"] == 1
        assert await drawer.held() == {"a": "1", "b": "2"}


async def test_two_holders_by_accident_merge(backing: DevStack, bus: Bus, drawer: Drawer) -> None:
    """Proves R-FAIL-13: each learns from the journal's revisions what the other committed."""
    other = Drawer(bus, drawer.canvas_id)
    async with (
        replica(backing, answers_open=False) as one,
        replica(backing, answers_open=False) as two,
    ):
        await one.rooms.open(drawer.canvas_id)
        await one.redis.delete(f"svgx:lease:{drawer.canvas_id}")
        await two.rooms.open(drawer.canvas_id)
        await asyncio.gather(*(drawer.set(f"a{n}", "1") for n in range(20)))
        await asyncio.gather(*(other.set(f"b{n}", "1") for n in range(20)))
        expected = {f"{who}{n}": "1" for who in "ab" for n in range(20)}
        assert await committed(bus, drawer.canvas_id) == expected
        while await drawer.held() != expected:
            pass  # whoever answered may not have heard yet what the other committed


async def test_edits_wait_for_state_and_nothing_is_acknowledged_before(
    backing: DevStack, bus: Bus, drawer: Drawer
) -> None:
    """Proves R-FAIL-6: while PostgreSQL is down drawing goes on, and saved means saved."""
    postgres = backing.process("postgres")
    async with replica(backing):
        await drawer.set("a", "1")
        postgres.pause()
        try:
            waiting = asyncio.create_task(drawer.set("b", "2"))
            while "b" not in await drawer.held():
                pass
            assert not waiting.done()
        finally:
            postgres.resume()
        await waiting
        assert await committed(bus, drawer.canvas_id) == {"a": "1", "b": "2"}


async def test_a_large_edit_passes(backing: DevStack, bus: Bus, drawer: Drawer) -> None:
    """Proves R-BUS-5 on the edit path: 3 MiB, where NATS takes 1 MiB."""
    async with replica(backing):
        await drawer.set("a", "x" * 3 * 1024 * 1024)
        assert len((await committed(bus, drawer.canvas_id))["a"]) == 3 * 1024 * 1024


async def test_a_document_that_breaks_is_opened_anew(
    backing: DevStack, bus: Bus, drawer: Drawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-SYNC-13: a real failure of pycrdt, past a check that lets everything through."""
    async with replica(backing):
        await drawer.set("a", "1")
        before = (await drawer.sync()).epoch
        with monkeypatch.context() as patch:
            patch.setattr(shared_document, "split", unchecked)
            # Beside it somebody else's edit.
            saved = await drawer.send([HARM, drawer.draw("b", "2")])
        assert saved.rejected == (0,)
        assert (await drawer.sync()).epoch != before
        assert await drawer.held() == {"a": "1", "b": "2"}
        assert await committed(bus, drawer.canvas_id) == {"a": "1", "b": "2"}


async def test_a_canvas_opened_anew_at_once_keeps_its_lease(
    backing: DevStack, drawer: Drawer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-SYNC-13: the broken holding gives nothing back that is the next one's."""
    postgres = backing.process("postgres")
    async with replica(backing) as one:
        await drawer.set("a", "1")
        refuse, owners = one.bus.refuse, []

        async def refuse_and_reopen(reply: str, error: SvgxError) -> None:
            # First who waited for a commit; when all is given up, who sent the harm.
            owners.append(await one.redis.get(f"svgx:lease:{drawer.canvas_id}"))
            postgres.resume()
            await one.rooms.open(drawer.canvas_id)
            await refuse(reply, error)

        with monkeypatch.context() as patch:
            patch.setattr(shared_document, "split", unchecked)
            postgres.pause()
            waiting = asyncio.create_task(drawer.set("b", "2"))
            while "b" not in await drawer.held():
                pass
            patch.setattr(one.bus, "refuse", refuse_and_reopen)
            await drawer.send([HARM])
        assert owners == [one.bus.replica_id] * 2
        await waiting


async def test_a_journal_with_what_cannot_be_read_opens(
    backing: DevStack, bus: Bus, drawer: Drawer
) -> None:
    """Proves R-SYNC-14: written before it was checked, or by something else."""
    async with replica(backing):
        await drawer.set("a", "1")
    entry = Entry(drawer.canvas_id, "writer", 1, ("eve",), b"no update")
    await bus.ask(JOURNAL_APPEND, AppendRequest(content=encode_entries([entry])))
    async with replica(backing):
        await drawer.set("b", "2")
        assert await drawer.held() == {"a": "1", "b": "2"}
