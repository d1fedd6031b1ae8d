"""Batches that are applied in several turns, with other work between the turns."""

import asyncio
import random
from contextlib import suppress

import pytest
from pycrdt import Doc, Map

from svgx_collab.room import Room
from svgx_collab.turns import TURN_BYTES, TURN_EDITS, BatchQueue, receive_in_turns
from svgx_common.contract.collab import Edit
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.live.rejections import Rejection
from svgx_common.contract.state import Content
from svgx_yjs.delete_set import read_delete_set
from svgx_yjs.lib0 import Decoder
from svgx_yjs.structure import EMPTY_STATE_VECTOR
from tests.unit.yjs.updates import STRING, deletions, in_root, text, update


def drawn(sizes: list[int]) -> list[bytes]:
    """Return the updates of one client, one for each of the sizes in bytes."""
    doc: Doc[Map[object]] = Doc()
    elements = doc.get("elements", type=Map)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    for number, size in enumerate(sizes):
        elements[str(number)] = random.Random(number).randbytes(size // 2).hex()
    return updates


def count_elements(room: Room) -> int:
    """Return the number of elements in the room's document."""
    doc: Doc[Map[object]] = Doc()
    doc.apply_update(room.sync(EMPTY_STATE_VECTOR, b"").update)
    return len(doc.get("elements", type=Map))


def count_deleted_clocks(room: Room) -> dict[int, int]:
    """Return the number of deleted clocks of each client in the room's document."""
    vector = room.sync(b"\x00", b"").state_vector
    decoder = Decoder(room.sync(vector, b"").update)
    assert decoder.uint() == 0
    return {
        client: sum(length for _, length in ranges) for client, ranges in read_delete_set(decoder)
    }


@pytest.mark.parametrize(
    ("count", "size"), [(40, 500), (40, 10_000), (40, 2 * TURN_BYTES), (4 * TURN_EDITS, 10)]
)
async def test_other_work_runs_between_the_turns_of_a_batch(count: int, size: int) -> None:
    """A batch has a turn for each `TURN_BYTES` or `TURN_EDITS`. All its edits are saved. Proves R-BOUND-5."""
    room = Room("canvas", "epoch", Content(0, ()))
    updates = drawn([size] * count)
    work_steps = 0

    async def work() -> None:
        nonlocal work_steps
        while True:
            work_steps += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(work())
    receipt = await receive_in_turns(room, [Edit("ann", each) for each in updates], lambda: False)
    other.cancel()
    assert receipt.rejected == ()
    assert work_steps >= sum(map(len, updates)) // TURN_BYTES - 1
    assert work_steps >= count // TURN_EDITS - 1
    assert count_elements(room) == count
    assert not room.is_saved(receipt)
    revision = 0
    while room.take_entry() is not None:
        revision += 1
        room.mark_committed(revision)
    assert room.is_saved(receipt)


@pytest.mark.parametrize("is_last", [False, True])
async def test_other_work_runs_between_the_turns_of_an_edit(is_last: bool) -> None:
    """Large deletions of one edit are applied in turns, and then the next edit of the batch. Proves R-BOUND-5."""
    room = Room("canvas", "epoch", Content(0, ()))
    ranges = [(2 * number, 1) for number in range(20_000)]
    edits = [
        update((5, 0, [in_root(STRING, text("x" * 40_000))])),
        *drawn([10]),
    ]
    edits.insert(2 if is_last else 1, update(deleted=deletions((5, ranges))))
    turns = 0

    def count_turn() -> bool:
        nonlocal turns
        turns += 1
        return False

    receipt = await receive_in_turns(room, [Edit("ann", each) for each in edits], count_turn)
    assert (receipt.taken, receipt.rejected) == (3, ())
    assert turns > 5
    assert not room.is_unfinished
    assert count_elements(room) == 2
    assert count_deleted_clocks(room) == {5: 20_000}


async def test_other_work_runs_before_the_first_turn() -> None:
    """Many batches may be waiting, so each lets other work run before its first turn. Proves R-BOUND-5."""
    room = Room("canvas", "epoch", Content(0, ()))
    [update] = drawn([10])
    ran: list[bool] = []
    asyncio.get_running_loop().call_soon(ran.append, True)
    await receive_in_turns(room, [Edit("ann", update)], lambda: not ran)
    assert ran


async def test_rejection_has_the_index_of_the_edit_in_the_batch() -> None:
    """Proves R-BOUND-5 and R-SYNC-8: a malformed edit in a later turn is rejected with its index in the batch."""
    room = Room("canvas", "epoch", Content(0, ()))
    updates = drawn([10_000] * 9)
    updates[1:1] = [b"no update"]
    updates.append(b"no update either")
    receipt = await receive_in_turns(room, [Edit("ann", each) for each in updates], lambda: False)
    assert [Rejection.unpack(each).index for each in receipt.rejected] == [1, 10]
    assert count_elements(room) == 9


async def test_batch_ends_when_its_canvas_is_released() -> None:
    """Proves R-BOUND-5: the gateway gets an error and sends the batch again, to the next holder."""
    room = Room("canvas", "epoch", Content(0, ()))
    edits = [Edit("ann", each) for each in drawn([10_000] * 40)]
    answers = iter([False, False, True])
    with pytest.raises(Unavailable):
        await receive_in_turns(room, edits, lambda: next(answers))
    assert 0 < count_elements(room) < 40
    following = Room("canvas", "next", Content(0, ()))
    assert (await receive_in_turns(following, edits, lambda: False)).rejected == ()
    assert count_elements(following) == 40


async def test_batch_without_edits_is_saved() -> None:
    room = Room("canvas", "epoch", Content(0, ()))
    assert room.is_saved(await receive_in_turns(room, [], lambda: False))


async def test_queue_applies_batches_in_the_order_of_their_arrival() -> None:
    """A batch that joined later does not overtake, even if it starts to wait first. Proves R-BOUND-5."""
    queue = BatchQueue()
    tickets = [queue.join() for _ in range(3)]
    applied: list[int] = []

    async def apply(number: int) -> None:
        async with queue.turn(tickets[number]):
            await asyncio.sleep(0)
            applied.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in (2, 0, 1):
            tasks.create_task(apply(number))
        await queue.wait_for_present_batches()
        assert applied == [0, 1, 2]
    assert not queue


@pytest.mark.parametrize("cancelled", [0, 1, 2], ids=["applied", "next", "last"])
async def test_cancelled_batch_leaves_its_queue(cancelled: int) -> None:
    """Later batches wait only for the earlier batches that remain. Proves R-BOUND-5."""
    queue = BatchQueue()
    tickets = [queue.join() for _ in range(3)]
    begun: list[int] = []
    may_end = asyncio.Event()

    async def apply(number: int) -> None:
        async with queue.turn(tickets[number]):
            begun.append(number)
            await may_end.wait()

    tasks = [asyncio.create_task(apply(number)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[cancelled].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[cancelled]
    await asyncio.sleep(0)
    assert (begun, len(queue)) == ([0, 1] if cancelled == 0 else [0], 2)
    may_end.set()
    async with asyncio.timeout(10):
        await queue.wait_for_present_batches()
    assert begun == [each for each in range(3) if each != cancelled or each == 0]
