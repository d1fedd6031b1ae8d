"""The document messages of clients. A large message becomes several edits, and is saved after the last edit."""

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import TooLarge
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.storage.quotas import AccountBounds, QuotaReport, Quotas
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.quotas.watch import QuotaWatch
from svgx_gateway.websocket import documents as module
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.documents import LARGE_BYTES, PIECE_BYTES, DocumentMessages
from svgx_gateway.websocket.outbox import Outbox
from svgx_gateway.websocket.transport.inflow import Inflow, InflowLimits, LargeMessages
from svgx_yjs import pieces
from svgx_yjs.lib0 import Malformed
from svgx_yjs.pieces import Pieces
from tests.unit.yjs.updates import STRING, in_root, text, update

LARGE = update((7, 0, [in_root(STRING, text("x" * 60_000)) for _ in range(10)]))


class RecordingOutbox:
    """An outbox that records the edits. `commit` commits the oldest uncommitted edit."""

    canvas_id = "canvas"
    has_capacity = True

    def __init__(self) -> None:
        self.edits: list[tuple[int, int]] = []
        """Size in bytes, and number, of each edit."""
        self._added = asyncio.Semaphore(0)
        self._events: list[asyncio.Event] = []

    async def wait_for_capacity(self) -> None:
        """Return at once."""

    def add(self, _: Connection, content: bytes, number: int) -> asyncio.Event:
        """Record an edit."""
        self.edits.append((len(content), number))
        self._events.append(asyncio.Event())
        self._added.release()
        return self._events[-1]

    async def commit(self) -> None:
        """Wait for an uncommitted edit, and commit it."""
        await self._added.acquire()
        self._events.pop(0).set()


class DemotingOutbox(RecordingOutbox):
    """An outbox that has capacity again after the role of its connection has become viewer.

    The lookup of the new role is answered only after the edit's wait for capacity has ended.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    async def wait_for_capacity(self) -> None:
        """Put the role in doubt, and return. Settle the role when the caller waits for it."""
        self._connection.doubt_role()
        settle_role = self._connection.settle_role
        asyncio.get_running_loop().call_soon(settle_role, CanvasRole.VIEWER, 1)


def connect(
    role: CanvasRole = CanvasRole.EDITOR, *, account: str = "u", inflow: Inflow | None = None
) -> Connection:
    """Return a connection."""
    caller = Caller(account, "ann", Role.EDITOR, "s")
    return Connection(cast(WebSocket, None), caller, role, wants_saved=True, inflow=inflow)


def no_quotas() -> QuotaEnforcement:
    """Return the enforcement of a gateway that has received no quota report."""
    return QuotaEnforcement(QuotaWatch(cast(Bus, None)))


async def receive(
    connection: Connection,
    outbox: RecordingOutbox,
    content: bytes,
    documents: DocumentMessages | None = None,
) -> None:
    """Receive one message."""
    await (documents or DocumentMessages(no_quotas())).receive(
        connection, cast(Outbox, cast(Any, outbox)), content, is_step_2=True
    )


@pytest.fixture
def quotas() -> QuotaEnforcement:
    """Return the enforcement of a gateway that knows the account `full`, which has used 90 % of its bytes a day."""
    report = QuotaReport(
        quotas=Quotas(account=AccountBounds(journal_bytes_per_day=100)),
        day=datetime.now(UTC).date(),
        accounts={"full": 90},
        canvases={},
    )
    watch = QuotaWatch(cast(Bus, None))
    watch.adopt(report)
    return QuotaEnforcement(watch)


@pytest.mark.parametrize(
    ("case", "at_once"),
    [
        ("an editor's edit", True),
        ("a viewer's edit", False),
        ("an edit while the role is in doubt", False),
        ("an edit while the outbox is full", False),
        ("an edit of an account near its quota", False),
        ("a large message", False),
    ],
)
async def test_edit_is_added_at_once_only_if_no_limit_applies(
    case: str, at_once: bool, quotas: QuotaEnforcement
) -> None:
    """If a limit applies to a message, `receive_at_once` changes nothing. `receive` then handles the message.

    Proves R-ACCESS-6, R-QUOTA-3 and R-SYNC-16.
    """
    role = CanvasRole.VIEWER if "viewer" in case else CanvasRole.EDITOR
    connection = connect(role, account="full" if "quota" in case else "u")
    if "doubt" in case:
        connection.doubt_role()
    outbox = RecordingOutbox()
    outbox.has_capacity = "outbox" not in case
    is_added = DocumentMessages(quotas).receive_at_once(
        connection,
        cast(Outbox, cast(Any, outbox)),
        LARGE if "large" in case else b"small",
        is_step_2=False,
    )
    assert is_added is at_once
    assert outbox.edits == ([(5, 1)] if at_once else [])
    assert connection.saved_counter.arrived == int(at_once)


async def test_only_the_last_piece_of_a_large_message_has_its_number() -> None:
    """Each piece waits for the commit of the previous piece. Proves R-SYNC-16."""
    connection, outbox = connect(), RecordingOutbox()
    await receive(connection, outbox, b"small")
    assert outbox.edits == [(5, 1)]
    await outbox.commit()
    receiving = asyncio.create_task(receive(connection, outbox, LARGE))
    for _ in range(9):
        await outbox.commit()
    await receiving
    assert [number for _, number in outbox.edits] == [1, *[1] * 9, 2]
    assert all(size <= PIECE_BYTES for size, _ in outbox.edits)
    assert len(LARGE) > LARGE_BYTES


async def test_viewer_sends_no_piece() -> None:
    """A viewer's large message is discarded: it counts as a message, but not as saved. Proves R-SAVE-10."""
    connection, outbox = connect(CanvasRole.VIEWER), RecordingOutbox()
    await receive(connection, outbox, LARGE)
    assert outbox.edits == []
    assert connection.saved_counter.arrived == 1


async def test_editor_who_becomes_a_viewer_sends_no_further_piece() -> None:
    """A message that was added in part does not count as saved. Proves R-ACCESS-6 and R-SAVE-10."""
    connection, outbox = connect(), RecordingOutbox()
    receiving = asyncio.create_task(receive(connection, outbox, LARGE))
    await outbox.commit()
    connection.doubt_role()
    connection.settle_role(CanvasRole.VIEWER, 1)
    await receiving
    assert len(outbox.edits) <= 2
    assert connection.saved_counter.commit(1, "epoch") is None


async def test_editor_who_becomes_a_viewer_during_the_wait_for_capacity_adds_nothing() -> None:
    """The edit also waits for the new role, and is then discarded. Proves R-ACCESS-5, R-ACCESS-6 and R-SAVE-10."""
    connection = connect()
    outbox = DemotingOutbox(connection)
    await receive(connection, outbox, b"small")
    assert outbox.edits == []
    assert connection.saved_counter.arrived == 1
    assert connection.saved_counter.commit(1, "epoch") is None


@pytest.mark.parametrize("content", [LARGE, LARGE[:-1]], ids=["valid", "malformed"])
async def test_large_message_of_a_viewer_who_becomes_an_editor_is_checked_and_cut(
    content: bytes,
) -> None:
    """The role is in doubt when the message arrives. Proves R-SYNC-8 and R-SYNC-16."""
    connection, outbox = connect(CanvasRole.VIEWER), RecordingOutbox()
    connection.doubt_role()
    receiving = asyncio.create_task(receive(connection, outbox, content))
    await asyncio.sleep(0)
    connection.settle_role(CanvasRole.EDITOR, 1)
    if content == LARGE:
        for _ in range(9):
            await outbox.commit()
        await receiving
        assert len(outbox.edits) == 10
    else:
        with pytest.raises(Malformed):
            await receiving
    assert all(size <= PIECE_BYTES for size, _ in outbox.edits)


async def test_malformed_large_message_adds_nothing() -> None:
    """A large message is checked before its first piece is added. Proves R-SYNC-8."""
    connection, outbox = connect(), RecordingOutbox()
    with pytest.raises(Malformed):
        await receive(connection, outbox, LARGE[:-1])
    assert outbox.edits == []


async def test_message_with_too_many_structs_is_refused_with_4413(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client does not send the same message again, because the code is final. Proves R-SOCKET-5."""
    monkeypatch.setattr(pieces, "MAX_STRUCTS", 9)
    connection, outbox = connect(), RecordingOutbox()
    with pytest.raises(TooLarge, match="at most 9 structs") as refusal:
        await receive(connection, outbox, LARGE)
    assert close_code(refusal.value) is Close.TOO_LARGE
    assert outbox.edits == []


class SlowPieces:
    """A cutter that finishes a message only after `release`."""

    def __init__(self) -> None:
        self.started = asyncio.Semaphore(0)
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._finish = threading.Semaphore(0)

    def __call__(self, content: bytes, max_bytes: int) -> Pieces:
        """Cut a message, in a thread."""
        self.count += 1
        self._loop.call_soon_threadsafe(self.started.release)
        assert self._finish.acquire(timeout=30)
        return Pieces(content, max_bytes)

    def release(self, count: int) -> None:
        """Finish a number of messages."""
        self._finish.release(count)


async def test_cut_for_a_disconnected_client_keeps_the_accounts_turn_and_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reconnecting starts no further thread, and other accounts' messages are cut meanwhile. Proves R-SOCKET-5."""
    cutter = SlowPieces()
    monkeypatch.setattr(module, "Pieces", cutter)
    documents, outbox, memory = (
        DocumentMessages(no_quotas()),
        RecordingOutbox(),
        LargeMessages(10**9),
    )
    inflow = Inflow(InflowLimits(), memory)
    assert inflow.reserve(len(LARGE))
    inflow.complete(len(LARGE))

    def send(connection: Connection) -> asyncio.Task[None]:
        return asyncio.create_task(receive(connection, outbox, LARGE, documents))

    async with asyncio.timeout(30):
        gone = send(connect(inflow=inflow))
        await cutter.started.acquire()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        inflow.release()
        returned = [send(connect()), send(connect())]
        other = send(connect(account="other"))
        await cutter.started.acquire()
        assert cutter.count == 2
        assert memory.used == len(LARGE)
        cutter.release(4)
        for _ in range(30):
            await outbox.commit()
        await asyncio.gather(*returned, other)
    assert memory.used == 0
    assert cutter.count == 4


async def test_number_of_messages_that_are_cut_at_the_same_time_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most `MAX_CUTS` messages are cut at a time, however many accounts send them. Proves R-SOCKET-5."""
    cutter = SlowPieces()
    monkeypatch.setattr(module, "Pieces", cutter)
    documents, outbox = DocumentMessages(no_quotas()), RecordingOutbox()
    async with asyncio.timeout(30):
        sent = [
            asyncio.create_task(receive(connect(account=str(n)), outbox, LARGE, documents))
            for n in range(5)
        ]
        for _ in range(module.MAX_CUTS):
            await cutter.started.acquire()
        assert cutter.count == module.MAX_CUTS
        cutter.release(5)
        for _ in range(50):
            await outbox.commit()
        await asyncio.gather(*sent)
