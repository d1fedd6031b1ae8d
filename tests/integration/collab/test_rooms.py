"""Holding canvases: opening, failover, leases, and commits that have to wait."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pycrdt import Doc, Map
from structlog.typing import EventDict

from svgx_canvas.document import shared_document
from svgx_canvas.document.pycrdt_document import FEW_STRUCTS
from svgx_collab import app
from svgx_collab import room as room_module
from svgx_collab import rooms as rooms_module
from svgx_collab.commits.missed_commits import MissedCommits
from svgx_collab.deletions import Deletions
from svgx_collab.leases import LEASE_SECONDS
from svgx_collab.room import MAX_IN_FLIGHT, Receipt, Room
from svgx_common.contract.collab import (
    CANVAS_UPDATE,
    LATE_COMMITS,
    Broadcast,
    Edit,
    LateCommits,
)
from svgx_common.contract.errors import NotFound, SvgxError, Unavailable
from svgx_common.contract.operation import Empty
from svgx_common.contract.state import (
    CANVAS_ACCESS_CHANGED,
    JOURNAL_APPEND,
    JOURNAL_LOAD,
    AppendRequest,
    Content,
    Entry,
    EntryBatch,
    LoadRequest,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.wire import decode, encode
from svgx_common.observability.log_ids import add_ids
from svgx_common.tracing import TraceOf, current_trace_id
from svgx_devstack import DevStack
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Run, Split
from svgx_yjs.splitting import split
from tests.integration.collab.replica import Editor, replica, until_gone
from tests.integration.state.service import Client, user
from tests.polling import pause

NO_TRACE = "0" * 32

HARM = bytes.fromhex("0102070004010174016104000700016200")
"""An update that makes pycrdt fail: a text in the root "t", and another text inside that text."""


def unchecked(update: bytes, *_: object) -> Split:
    """Let every update pass the check. Each update is integrated alone and immediately, as if it had many structs."""
    run = Run(7, 0, 2, FEW_STRUCTS + 1, b"")
    return Split(update, None, {7: 2}, Nesting(), runs=(run,))


def harm_unchecked(update: bytes, known: Mapping[int, int], nesting: Nesting) -> Split:
    """Let `HARM` pass the check. It is integrated together with other edits."""
    if update == HARM:
        return Split(update, None, {7: 2}, Nesting())
    return split(update, known, nesting)


def edits_received() -> float:
    """Return the number of edits that the replicas have received, from the metric."""
    return REGISTRY.get_sample_value("svgx_engine_collab_edits_total") or 0.0


async def committed(bus: Bus, canvas_id: str) -> dict[str, str]:
    """Return the elements that PostgreSQL has."""
    reply = await bus.ask(JOURNAL_LOAD, LoadRequest(canvas_id=canvas_id))
    doc: Doc[Map[str]] = Doc()
    elements = doc.get("elements", type=Map)
    for update in decode(Content, reply.content).updates:
        doc.apply_update(update)
    return dict(elements.to_py() or {})


def released(reason: str) -> float:
    """Return the number of canvases that were released for a reason, from the metric."""
    name = "svgx_engine_collab_released_canvases_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


async def append(bus: Bus, canvas_id: str, update: bytes, sequence: int = 1) -> None:
    """Append an entry of another writer to the journal."""
    entry = Entry(canvas_id, "writer", sequence, ("eve",), update)
    await bus.ask(JOURNAL_APPEND, AppendRequest(content=encode(EntryBatch((entry,)))))


@pytest.mark.parametrize("entries", [1, MAX_IN_FLIGHT])
async def test_edits_in_the_wrong_order_are_committed(
    backing: DevStack,
    bus: Bus,
    editor: Editor,
    monkeypatch: pytest.MonkeyPatch,
    *,
    entries: int,
) -> None:
    """Edits in the wrong order need several journal entries. Entries beyond `MAX_IN_FLIGHT` follow in the next commit.

    The edits are received only once. Proves R-SAVE-9 and R-SAVE-12.
    """
    monkeypatch.setattr(room_module, "MAX_IN_FLIGHT", entries)
    async with replica(backing):
        updates = [editor.draw(key, "1") for key in "abcd"]
        before = edits_received()
        async with asyncio.timeout(20):
            saved = await editor.send(updates[::-1])
        assert edits_received() == before + len(updates)
        assert saved.revision > 1
        assert saved.rejected == ()
        assert await editor.held() == dict.fromkeys("abcd", "1")
        assert await committed(bus, editor.canvas_id) == dict.fromkeys("abcd", "1")


async def test_acknowledged_edit_is_committed_and_has_one_broadcast(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """An edit is committed before it is acknowledged, and broadcasts are numbered within an epoch.

    Proves R-SAVE-2 and R-SYNC-6.
    """
    broadcasts: asyncio.Queue[Broadcast] = asyncio.Queue()

    async def listener(_: str, content: bytes) -> None:
        broadcast = decode(Broadcast, content)
        if broadcast.sequence:  # not the announcement of the holder
            broadcasts.put_nowait(broadcast)

    await bus.listen(CANVAS_UPDATE.subject_of(canvas_id=editor.canvas_id), listener)
    async with replica(backing):
        saved = await editor.set("a", "1")
        assert await committed(bus, editor.canvas_id) == {"a": "1"}
        assert (saved.revision, saved.rejected) == (1, ())
        first = await broadcasts.get()
        await editor.set("b", "2")
        second = await broadcasts.get()
        assert (first.sequence, second.sequence) == (1, 2)
        assert first.epoch == second.epoch == (await editor.sync()).epoch


async def test_tasks_of_a_canvas_do_not_belong_to_the_request_that_opened_it(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room's tasks serve all users, so they do not continue the trace of the request that opened the canvas.

    Their log lines have the canvas's id. Proves R-OBS-4.
    """
    traces: dict[str, str] = {}
    ids: dict[str, EventDict] = {}
    receive, take_broadcasts = Room.receive, Room.take_broadcasts

    def noting_receive(room: Room, edits: list[Edit], *arguments: Any, **options: Any) -> Receipt:
        traces["edit"] = current_trace_id()
        ids["edit"] = add_ids(None, "", {})
        return receive(room, edits, *arguments, **options)

    def noting_broadcasts(room: Room) -> Iterator[Broadcast]:
        traces["broadcast"] = current_trace_id()
        ids.setdefault("broadcast", add_ids(None, "", {}))  # the first call is the broadcaster's
        return take_broadcasts(room)

    monkeypatch.setattr(Room, "receive", noting_receive)
    monkeypatch.setattr(Room, "take_broadcasts", noting_broadcasts)
    async with replica(backing, answers_open=False) as one:
        with TraceOf(()):
            await one.rooms.open(editor.canvas_id)
            opening = current_trace_id()
        await editor.set("a", "1")
    assert opening != NO_TRACE
    assert traces == {"edit": NO_TRACE, "broadcast": NO_TRACE}
    assert ids == {task: {"canvas_id": editor.canvas_id} for task in ("edit", "broadcast")}


async def test_unknown_canvas_is_not_held(backing: DevStack, bus: Bus, state: None) -> None:
    """Opening a canvas that does not exist fails, and no replica holds it.

    Proves R-ACCESS-2.
    """
    async with replica(backing, answers_open=False) as one:
        with pytest.raises(NotFound):
            await one.rooms.open("nowhere")
        assert one.rooms.details()["held"] == 0


async def test_deleted_canvas_is_released_at_once(backing: DevStack, bus: Bus, state: None) -> None:
    """The holder does not wait until the canvas is idle. A change of roles releases no canvas. Proves R-ACCESS-2."""
    owner = Client(bus, user())
    kept, deleted = [await owner.create() for _ in range(2)]
    async with replica(backing, answers_open=False) as one:
        deletions = Deletions(one.bus, one.rooms)
        await deletions.start()
        for canvas_id in (kept, deleted):
            await one.rooms.open(canvas_id)
        await Editor(bus, deleted).set("a", "1")
        await bus.broadcast(CANVAS_ACCESS_CHANGED, Empty(), canvas_id=kept)
        await owner.delete(deleted)
        async with asyncio.timeout(10):
            while one.rooms.knows(deleted):
                await pause()
        assert one.rooms.knows(kept)
        with pytest.raises(NotFound):
            await one.rooms.open(deleted)
        await deletions.stop()


async def test_canvas_of_a_killed_holder_is_taken_over_at_once(
    backing: DevStack, editor: Editor
) -> None:
    """The next holder does not wait for the end of a killed holder's lease. Proves R-FAIL-8."""
    async with replica(backing, answers_open=False) as one, replica(backing) as two:
        await one.rooms.open(editor.canvas_id)
        await editor.set("a", "1")
        with pytest.raises(Unavailable):
            await two.rooms.open(editor.canvas_id)
        await one.crash()
        await until_gone(editor.bus, one)
        async with asyncio.timeout(LEASE_SECONDS / 2):
            await editor.set("b", "2")
        assert two.rooms.details()["held"] == 1
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_canvas_of_a_silent_holder_is_taken_over_before_its_lease_ends(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that does not answer another replica's question counts as frozen. Proves R-FAIL-24."""
    # On a busy machine, the other replica may notice late that no answer came.
    monkeypatch.setattr(app, "LONGEST_DELAY_SECONDS", 10.0)
    async with (
        replica(backing, answers_open=False, answers_alive=False) as one,
        replica(backing, answers_open=False) as two,
    ):
        await one.rooms.open(editor.canvas_id)
        await editor.set("a", "1")
        async with asyncio.timeout(LEASE_SECONDS / 2):
            await two.rooms.open(editor.canvas_id)
        # The silent replica continues. Both hold the canvas until the silent replica finds that it has lost the lease.
        await editor.set("b", "2")
        await one.rooms.renew_leases()
        assert (one.rooms.details()["held"], two.rooms.details()["held"]) == (0, 1)
        assert await editor.held() == {"a": "1", "b": "2"}


async def test_stopping_replica_hands_its_canvases_over(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """A stopping replica commits all edits, and the next replica opens the canvas at once. Proves R-FAIL-10."""
    async with replica(backing, answers_open=False) as one:
        await one.rooms.open(editor.canvas_id)
        await editor.set("a", "1")
        before = released("handed_over")
        await one.rooms.hand_over()
        nothing = {"held": 0, "unsaved_bytes": 0, "oldest_unsaved_seconds": 0}
        assert one.rooms.details() == nothing
        assert released("handed_over") == before + 1
        async with replica(backing), asyncio.timeout(LEASE_SECONDS / 2):
            assert await editor.held() == {"a": "1"}


async def test_canvas_is_held_without_redis(backing: DevStack, editor: Editor) -> None:
    """Editing and saving work while Redis does not answer. Proves R-FAIL-7."""
    valkey = backing.process("valkey")
    async with replica(backing):
        valkey.pause()
        try:
            await editor.set("a", "1")
            assert await editor.held() == {"a": "1"}
        finally:
            valkey.resume()


async def test_replica_that_lost_its_lease_leaves_the_canvas(
    backing: DevStack, editor: Editor
) -> None:
    """A holder that lost its lease commits its edits and releases the canvas. The replica with the lease takes over.

    Proves R-FAIL-13.
    """
    async with replica(backing, answers_open=False) as one, replica(backing) as two:
        await one.rooms.open(editor.canvas_id)
        await editor.set("a", "1")
        await one.redis.set(f"svgx:lease:{editor.canvas_id}", two.bus.replica_id)
        before = released("lease_lost")
        await one.rooms.renew_leases()
        assert one.rooms.details()["held"] == 0
        assert released("lease_lost") == before + 1
        await editor.set("b", "2")
        assert two.rooms.details()["held"] == 1
        assert await editor.held() == {"a": "1", "b": "2"}


@pytest.mark.parametrize("cause", ["lease", "redis", "nats", "report"])
async def test_holder_loads_commits_of_another_writer_that_it_may_have_missed(
    backing: DevStack, bus: Bus, editor: Editor, cause: str
) -> None:
    """Another replica held the canvas while this one was frozen, or has committed edits late. Nobody edits afterwards.

    Proves R-FAIL-13.
    """
    valkey = backing.process("valkey")
    other = Editor(bus, editor.canvas_id)
    async with replica(backing) as one, replica(backing, answers_open=False) as two:
        await editor.set("a", "1")
        await append(bus, editor.canvas_id, other.draw("b", "2"))
        match cause:
            case "lease":
                await one.redis.delete(f"svgx:lease:{editor.canvas_id}")
                await one.rooms.renew_leases()
            case "redis":
                valkey.pause()
                try:
                    await one.rooms.renew_leases()
                finally:
                    valkey.resume()
                await one.rooms.renew_leases()
            case "nats":
                await one.bus.connection.force_reconnect()
            case _:
                await two.bus.broadcast(LATE_COMMITS, LateCommits(editor.canvas_id, 2))
        async with asyncio.timeout(20):
            while await editor.held() != {"a": "1", "b": "2"}:
                await pause()


async def test_holder_repeats_a_failed_load_of_missed_commits(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load that follows a gap fails once, and nobody edits afterwards. Proves R-FAIL-13."""
    other = Editor(bus, editor.canvas_id)
    async with replica(backing) as one:
        await editor.set("a", "1")
        ask = one.bus.ask
        failures: list[object] = []

        async def fail_first_load(operation: Any, *arguments: Any, **options: Any) -> Any:
            if operation is JOURNAL_LOAD and not failures:
                failures.append(operation)
                raise Unavailable("the state service ends")
            return await ask(operation, *arguments, **options)

        monkeypatch.setattr(one.bus, "ask", fail_first_load)
        await append(bus, editor.canvas_id, other.draw("b", "2"))
        await editor.set("c", "3")
        async with asyncio.timeout(20):
            while await editor.held() != {"a": "1", "b": "2", "c": "3"}:
                await pause()
        assert failures


async def test_new_holder_gets_the_late_commits_of_the_former_holder(
    backing: DevStack, bus: Bus, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former holder commits last, and the new holder makes no commit afterwards. Proves R-FAIL-13."""
    other = Editor(bus, editor.canvas_id)
    async with replica(backing, answers_open=False) as one, replica(backing) as two:
        await one.rooms.open(editor.canvas_id)
        await editor.set("a", "1")
        ask, may_commit = one.bus.ask, asyncio.Event()

        async def commit_late(operation: Any, *arguments: Any, **options: Any) -> Any:
            if operation is JOURNAL_APPEND:
                await may_commit.wait()
            return await ask(operation, *arguments, **options)

        monkeypatch.setattr(one.bus, "ask", commit_late)
        late = asyncio.create_task(editor.set("b", "2"))
        while "b" not in await editor.held():
            await pause()
        await append(bus, editor.canvas_id, other.draw("c", "3"))
        await one.redis.set(f"svgx:lease:{editor.canvas_id}", two.bus.replica_id)
        await two.rooms.open(editor.canvas_id)
        may_commit.set()
        await one.rooms.renew_leases()
        await late
        assert one.rooms.details()["held"] == 0
        async with asyncio.timeout(20):
            while await editor.held() != {"a": "1", "b": "2", "c": "3"}:
                await pause()


async def test_late_commits_that_are_reported_while_the_new_holder_opens_are_loaded(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new holder read the journal before the late commit, and is still opening when the report arrives.

    Nobody edits afterwards. Proves R-FAIL-13.
    """
    load, has_handled_report = MissedCommits.load, asyncio.Event()

    async def noting_load(missed_commits: MissedCommits) -> None:
        await load(missed_commits)
        has_handled_report.set()

    monkeypatch.setattr(MissedCommits, "load", noting_load)
    async with replica(backing, answers_open=False) as one, replica(backing) as two:
        await one.rooms.open(editor.canvas_id)
        await editor.set("a", "1")
        ask_as_one, may_commit = one.bus.ask, asyncio.Event()
        ask_as_two, has_read, may_open = two.bus.ask, asyncio.Event(), asyncio.Event()

        async def commit_late(operation: Any, *arguments: Any, **options: Any) -> Any:
            if operation is JOURNAL_APPEND:
                await may_commit.wait()
            return await ask_as_one(operation, *arguments, **options)

        async def open_late(operation: Any, *arguments: Any, **options: Any) -> Any:
            reply = await ask_as_two(operation, *arguments, **options)
            if operation is JOURNAL_LOAD and not has_read.is_set():
                has_read.set()
                await may_open.wait()
            return reply

        monkeypatch.setattr(one.bus, "ask", commit_late)
        monkeypatch.setattr(two.bus, "ask", open_late)
        async with asyncio.timeout(20):
            late = asyncio.create_task(editor.set("b", "2"))
            while "b" not in await editor.held():
                await pause()
            await one.redis.set(f"svgx:lease:{editor.canvas_id}", two.bus.replica_id)
            opening = asyncio.create_task(two.rooms.open(editor.canvas_id))
            await has_read.wait()
            may_commit.set()
            await one.rooms.renew_leases()
            await late
            await has_handled_report.wait()
            may_open.set()
            await opening
            while await editor.held() != {"a": "1", "b": "2"}:
                await pause()


async def test_sync_request_that_finds_a_failed_room_is_refused_at_once(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room is opened again for the repeated request, and not after the time limit of one. Proves R-SYNC-13."""
    async with replica(backing) as one:
        await editor.set("a", "1")
        (held,) = one.rooms._held.values()
        with monkeypatch.context() as patch:
            patch.setattr(shared_document, "split", harm_unchecked)
            # No broadcast and no commit integrates this edit before the sync request.
            held.room.receive([Edit("eve", HARM)])
        editor.attempt_seconds = 60
        async with asyncio.timeout(20):
            assert await editor.held() == {"a": "1"}


async def test_two_holders_of_one_canvas_merge(backing: DevStack, bus: Bus, editor: Editor) -> None:
    """Each holder finds the other holder's commits by the journal's revisions. Proves R-FAIL-13."""
    other = Editor(bus, editor.canvas_id)
    async with (
        replica(backing, answers_open=False) as one,
        replica(backing, answers_open=False) as two,
    ):
        await one.rooms.open(editor.canvas_id)
        await one.redis.delete(f"svgx:lease:{editor.canvas_id}")
        await two.rooms.open(editor.canvas_id)
        await asyncio.gather(*(editor.set(f"a{n}", "1") for n in range(20)))
        await asyncio.gather(*(other.set(f"b{n}", "1") for n in range(20)))
        expected = {f"{prefix}{n}": "1" for prefix in "ab" for n in range(20)}
        assert await committed(bus, editor.canvas_id) == expected
        while await editor.held() != expected:
            await pause()  # the answering holder may not have loaded the other holder's commits yet


async def test_waiting_edit_that_another_writer_releases_is_integrated(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """The holder finds the other writer's commit by its revision, and continues the released edits without a request.

    Proves R-FAIL-13 and R-BOUND-5.
    """
    first, second, third = [editor.draw(key, "1") for key in "abc"]
    async with replica(backing):
        await editor.send([third])
        await append(bus, editor.canvas_id, first)
        await Editor(bus, editor.canvas_id).set("d", "1")
        while "a" not in await editor.held():
            await pause()
        await append(bus, editor.canvas_id, second, sequence=2)
        await Editor(bus, editor.canvas_id).set("e", "1")
        while await editor.held() != dict.fromkeys("abcde", "1"):
            await pause()


async def test_edit_while_postgresql_is_frozen_is_acknowledged_after_its_commit(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """While PostgreSQL does not answer, editing goes on. The edit is acknowledged only after its commit.

    Proves R-SAVE-5 and R-FAIL-6.
    """
    postgres = backing.process("postgres")
    async with replica(backing):
        await editor.set("a", "1")
        postgres.pause()
        try:
            waiting = asyncio.create_task(editor.set("b", "2"))
            while "b" not in await editor.held():
                await pause()
            assert not waiting.done()
        finally:
            postgres.resume()
        await waiting
        assert await committed(bus, editor.canvas_id) == {"a": "1", "b": "2"}


async def test_edit_larger_than_a_nats_message_is_saved(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """An edit of 3 MiB is saved, although a NATS message takes 1 MiB only. Proves R-BUS-5 on the edit path."""
    async with replica(backing):
        await editor.set("a", "x" * 3 * 1024 * 1024)
        assert len((await committed(bus, editor.canvas_id))["a"]) == 3 * 1024 * 1024


@pytest.mark.parametrize("check", [unchecked, harm_unchecked], ids=["alone", "in a batch"])
async def test_room_that_fails_is_reopened_without_the_harmful_edit(
    backing: DevStack,
    bus: Bus,
    editor: Editor,
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[..., Split],
) -> None:
    """A room that fails is reopened from its journal, and the edit that made it fail is rejected.

    The check lets the harmful edit pass, so that pycrdt really fails. After a failure of a whole batch, the next room
    integrates edits one by one. Proves R-SYNC-13.
    """
    async with replica(backing):
        await editor.set("a", "1")
        before = (await editor.sync()).epoch
        with monkeypatch.context() as patch:
            patch.setattr(shared_document, "split", check)
            # The second edit of the batch is valid.
            saved = await editor.send([HARM, editor.draw("b", "2")])
        assert saved.rejected == (0,)
        assert (await editor.sync()).epoch != before
        assert await editor.held() == {"a": "1", "b": "2"}
        assert await committed(bus, editor.canvas_id) == {"a": "1", "b": "2"}


async def test_lease_of_a_canvas_that_loads_is_renewed(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading may take longer than a lease lasts. Another replica does not load the canvas too. Proves R-FAIL-8."""
    began, may_end = threading.Event(), threading.Event()

    def load_slowly(*arguments: Any, **options: Any) -> Room:
        began.set()
        assert may_end.wait(10)
        return Room(*arguments, **options)

    lease = f"svgx:lease:{editor.canvas_id}"
    async with replica(backing, answers_open=False) as one:
        monkeypatch.setattr(rooms_module, "Room", load_slowly)
        opening = asyncio.create_task(one.rooms.open(editor.canvas_id))
        assert await asyncio.to_thread(began.wait, 10)
        await one.redis.expire(lease, 5)
        await one.rooms.renew_leases()
        assert await one.redis.ttl(lease) > 5
        may_end.set()
        await opening
        assert await one.redis.get(lease) == one.bus.replica_id


async def test_canvas_reopened_at_once_keeps_its_lease(
    backing: DevStack, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a failed room does not release the lease when the same replica has opened the canvas again.

    Proves R-SYNC-13.
    """
    postgres = backing.process("postgres")
    async with replica(backing) as one:
        await editor.set("a", "1")
        refuse, owners = one.bus.refuse, []

        async def refuse_and_reopen(reply: str, error: SvgxError) -> None:
            # Each failure of the room refuses two edits: the one that waits for its commit, and the harmful one.
            owners.append(await one.redis.get(f"svgx:lease:{editor.canvas_id}"))
            postgres.resume()
            await one.rooms.open(editor.canvas_id)
            await refuse(reply, error)

        with monkeypatch.context() as patch:
            patch.setattr(shared_document, "split", unchecked)
            postgres.pause()
            waiting = asyncio.create_task(editor.set("b", "2"))
            while "b" not in await editor.held():
                await pause()
            patch.setattr(one.bus, "refuse", refuse_and_reopen)
            await editor.send([HARM])
        assert len(owners) >= 2
        assert set(owners) == {one.bus.replica_id}
        await waiting


async def test_journal_with_an_unreadable_entry_opens(
    backing: DevStack, bus: Bus, editor: Editor
) -> None:
    """A journal entry that is no Yjs update is left out; the rest of the content is there. Proves R-SYNC-14."""
    async with replica(backing):
        await editor.set("a", "1")
    await append(bus, editor.canvas_id, b"no update")
    async with replica(backing):
        await editor.set("b", "2")
        assert await editor.held() == {"a": "1", "b": "2"}
