"""The outbox: only committed edits are reported as saved."""

import asyncio
import time
from typing import cast

import pytest
from prometheus_client import REGISTRY
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import EditBatch, Saved
from svgx_common.contract.errors import (
    BadRequest,
    DeadlineExceeded,
    Internal,
    NotFound,
    Unavailable,
)
from svgx_common.contract.live.rejections import Reason, Rejection
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.wire import decode, encode
from svgx_gateway.websocket import outbox as module
from svgx_gateway.websocket.connection import Closing, Connection
from svgx_gateway.websocket.links.outgoing_batch import MAX_EDIT_BYTES
from svgx_gateway.websocket.outbox import UNSAVED, Outbox
from svgx_yjs.lib0 import Malformed
from tests.log_reader import read_logs
from tests.polling import pause


async def send_one_edit(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception
) -> tuple[Connection, list[int]]:
    """Send one edit, and let the holder answer. Return the connection and the numbers reported as saved."""

    async def ask(*_: object, **__: object) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Holder, "ask", ask)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    reported: list[int] = []
    monkeypatch.setattr(Connection, "send_saved", lambda _, number, __: reported.append(number))
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    outbox.add(connection, b"update", 1)
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    await outbox.stop()
    return connection, reported


async def test_committed_edit_is_reported_as_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit is reported as saved once it is committed. Proves R-SAVE-1."""
    connection, reported = await send_one_edit(monkeypatch, encode(Saved(1, (), "epoch")))
    assert reported == [1]
    assert not connection.closing.done()


async def test_client_is_asked_again_when_a_new_holder_commits_its_answer_to_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old holder has asked the client for its edits, but a new holder commits the answer. Proves R-SAVE-11."""

    async def ask(*_: object, **__: object) -> bytes:
        return encode(Saved(1, (), "new-epoch"))

    monkeypatch.setattr(Holder, "ask", ask)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    connection.saved_counter.ask("old-epoch")
    asked: list[Connection] = []
    outbox = Outbox(cast(Bus, None), "canvas", connection.close, None, asked.append)
    outbox.add(connection, b"update", connection.saved_counter.accept(is_step_2=True))
    async with asyncio.timeout(10):
        await outbox.wait_until_empty()
    await outbox.stop()
    assert asked == [connection]


def counted_edits() -> dict[str, float]:
    """Return the numbers of edits by outcome, from the metric."""
    return {
        outcome: REGISTRY.get_sample_value("svgx_engine_live_edits_total", {"outcome": outcome})
        or 0.0
        for outcome in ("saved", "late", "rejected", "failed")
    }


@pytest.mark.parametrize(
    ("answer", "objective", "outcome"),
    [
        (encode(Saved(1, (), "epoch")), 3600.0, "saved"),
        (encode(Saved(1, (), "epoch")), -1.0, "late"),
        (encode(Saved(1, (0,), "epoch")), 1.0, "rejected"),
        (NotFound(), 1.0, "rejected"),
        (Unavailable(), 1.0, "failed"),
        (Malformed("the answer is cut off"), 1.0, "failed"),
    ],
)
async def test_edit_is_counted_by_its_outcome(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception, objective: float, outcome: str
) -> None:
    """Each edit is counted once, with one outcome. Proves R-OBS-12."""
    monkeypatch.setattr(module, "SAVED_OBJECTIVE_SECONDS", objective)
    before = counted_edits()
    await send_one_edit(monkeypatch, answer)
    after = counted_edits()
    assert {name for name in after if after[name] != before[name]} == {outcome}
    assert after[outcome] == before[outcome] + 1


@pytest.mark.parametrize(
    ("error", "closing"),
    [
        (Unavailable(), Closing(Close.OVERLOADED, UNSAVED)),
        (DeadlineExceeded(), Closing(Close.OVERLOADED, UNSAVED)),
        (Internal(), Closing(Close.OVERLOADED, UNSAVED)),
        (BadRequest("the message cannot be decoded"), Closing(Close.OVERLOADED, UNSAVED)),
        (Malformed("the answer is cut off"), Closing(Close.OVERLOADED, UNSAVED)),
        (NotFound("there is no such canvas"), Closing(Close.NOT_FOUND, NotFound.title())),
    ],
)
async def test_failed_edit_is_not_reported_and_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch, error: Exception, closing: Closing
) -> None:
    """An edit that cannot be committed is not reported. Clients reconnect later, unless the canvas is missing.

    Proves R-SAVE-2, R-SAVE-5 and R-SOCKET-1.
    """
    connection, reported = await send_one_edit(monkeypatch, error)
    assert reported == []
    assert connection.closing.result() == closing


async def test_rejected_edit_is_not_reported_and_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rejected edit is not reported; its connection is closed. Proves R-SAVE-2 and R-SYNC-8."""
    connection, reported = await send_one_edit(monkeypatch, encode(Saved(1, (0,), "epoch")))
    assert reported == []
    assert connection.closing.result().code is Close.BAD_MESSAGE


@pytest.mark.parametrize(
    ("rejection", "closing"),
    [
        (Rejection(0, Reason.EDIT_CLIENTS, 10), (Close.TOO_LARGE, "at most 10 Yjs clients")),
        (Rejection(0, Reason.ACCOUNT_TIME, 30), (Close.OVERLOADED, "try again in 30 s")),
    ],
)
async def test_edit_beyond_a_bound_closes_the_connection_with_the_limit(
    monkeypatch: pytest.MonkeyPatch, rejection: Rejection, closing: tuple[Close, str]
) -> None:
    """The sender learns the limit, or when it may try again. Proves R-BOUND-1 and R-BOUND-2."""
    connection, reported = await send_one_edit(
        monkeypatch, encode(Saved(1, (rejection.pack(),), "epoch"))
    )
    assert reported == []
    assert connection.closing.result().code is closing[0]
    assert closing[1] in connection.closing.result().reason


async def test_uncommitted_batches_slow_down_the_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While nothing is committed, all edits are sent, but the requests become less frequent. Proves R-SAVE-5."""
    sent: list[int] = []

    async def ask(_: Holder, __: str, content: bytes, **___: object) -> bytes:
        sent.append(len(list(decode(EditBatch, content).edits)))
        await asyncio.Event().wait()  # never set
        raise AssertionError

    monkeypatch.setattr(Holder, "ask", ask)
    monkeypatch.setattr(module, "BATCH_INTERVAL_SECONDS", 0.001)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    loop = asyncio.get_running_loop()
    number, end = 0, loop.time() + 0.5
    while loop.time() < end or len(sent) < 2:
        number += 1
        outbox.add(connection, b"update", number)
        await asyncio.sleep(0.0005)
    async with asyncio.timeout(20):
        while sum(sent) < number:
            await pause()
    await outbox.stop()
    assert sum(sent) == number
    assert 1 < len(sent) < 150, (
        "the growing interval gives about 89 requests; one request each millisecond would give about 400"
    )


async def test_edits_beyond_a_full_batch_are_read_after_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch exceeds `BATCH_BYTES` by at most one edit, because reading waits when it is full. Proves R-BOUND-5."""
    sizes: list[int] = []

    async def ask(*arguments: object, **_: object) -> bytes:
        content = next(each for each in arguments if isinstance(each, bytes))
        sizes.append(sum(len(edit.update) for edit in decode(EditBatch, content).edits))
        return encode(Saved(1, (), "epoch"))

    monkeypatch.setattr(Holder, "ask", ask)
    monkeypatch.setattr(module, "BATCH_BYTES", 10_000)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    async with asyncio.timeout(20):
        for number in range(100):
            await outbox.wait_for_capacity()
            outbox.add(connection, b"u" * 3_000, number)
        await outbox.wait_until_empty()
    await outbox.stop()
    assert sum(sizes) == 300_000
    assert max(sizes) <= 13_000


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_large_batches_are_sent_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A large batch waits for the answer to the previous large batch, but at most for one attempt (`seconds`).

    Small batches do not wait. Proves R-BOUND-5 and R-SAVE-5.
    """
    sizes: asyncio.Queue[int] = asyncio.Queue()
    answer = asyncio.Event()

    async def ask(*arguments: object, **_: object) -> bytes:
        content = next(each for each in arguments if isinstance(each, bytes))
        sizes.put_nowait(sum(len(edit.update) for edit in decode(EditBatch, content).edits))
        await answer.wait()
        return encode(Saved(1, (), "epoch"))

    monkeypatch.setattr(Holder, "ask", ask)
    monkeypatch.setattr(module, "_attempt_seconds", lambda _: seconds)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    large = MAX_EDIT_BYTES + 1
    async with asyncio.timeout(20):
        for number, size in enumerate((large, 10)):
            outbox.add(connection, b"u" * size, number)
            assert await sizes.get() == size
        outbox.add(connection, b"u" * large, 2)
        if seconds:
            await asyncio.sleep(10 * module.BATCH_INTERVAL_SECONDS)
            assert sizes.empty()
            answer.set()
        assert await sizes.get() == large
        answer.set()
        await outbox.wait_until_empty()
    await outbox.stop()


async def test_outage_writes_one_line_and_shows_the_age_of_the_oldest_edit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each outage writes one log line for all its batches. The line has a trace id, although its trace is not recorded.

    Proves R-OBS-4, R-OBS-8 and R-OBS-11.
    """
    answer = asyncio.Event()
    saved = False

    async def ask(*_: object, **__: object) -> bytes:
        await answer.wait()
        if saved:
            return encode(Saved(1, (), "epoch"))
        raise Unavailable

    monkeypatch.setattr(Holder, "ask", ask)
    monkeypatch.setattr(module, "BATCH_INTERVAL_SECONDS", 0.0)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)

    def age() -> float:
        since = outbox.unsaved_since
        return 0.0 if since is None else time.monotonic() - since

    assert age() == 0
    with read_logs("gateway") as log:
        for succeeds, expected in ((False, 1), (True, 0), (False, 1)):
            saved = succeeds
            answer.clear()
            for number in range(20):
                outbox.add(connection, b"update", number)
                await asyncio.sleep(0.001)
            assert 0.01 < age() < 10
            answer.set()
            async with asyncio.timeout(10):
                await outbox.wait_until_empty()
            lines = log.read()
            assert [line["event"] for line in lines] == ["edits could not be saved"] * expected
            assert all(int(line["trace_id"], 16) for line in lines)
            assert age() == 0
    await outbox.stop()


async def test_discarded_edits_are_counted_as_failed_and_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Edits of a stopped outbox count as failed, whether their batch was sent or not. Proves R-OBS-12."""
    asked = asyncio.Event()

    async def ask(*_: object, **__: object) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Holder, "ask", ask)
    monkeypatch.setattr(module, "BATCH_INTERVAL_SECONDS", 3600.0)
    caller = Caller("u", "ann", Role.EDITOR, "s")
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=True)
    outbox = Outbox(cast(Bus, None), "canvas", connection.close)
    before = counted_edits()
    with read_logs("gateway") as log:
        outbox.add(connection, b"update", 1)
        async with asyncio.timeout(10):
            await asked.wait()
        outbox.add(connection, b"update", 2)
        outbox.add(connection, b"update", 3)
        await outbox.stop()
        (line,) = log.read()
    assert (line["event"], line["canvas_id"], line["edits"]) == (
        "unsaved edits were discarded",
        "canvas",
        3,
    )
    assert counted_edits() == before | {"failed": before["failed"] + 3}


async def test_outbox_without_unsaved_edits_stops_without_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each edit is counted once: after its commit, the end of the canvas does not count it. Proves R-OBS-12."""
    before = counted_edits()
    with read_logs("gateway") as log:
        await send_one_edit(monkeypatch, encode(Saved(1, (), "epoch")))
        assert log.read() == []
    assert counted_edits()["failed"] == before["failed"]
