"""The socket of a Hocuspocus client, without a network and without a holder."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, cast

import pytest
from starlette.requests import HTTPConnection
from starlette.types import Message
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Overloaded, TooManyRequests
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.identity import NEVER, Identity
from svgx_gateway.memory.outgoing import Outgoing
from svgx_gateway.websocket.admission import Admission, SocketLimits
from svgx_gateway.websocket.connection import Connection, Ended
from svgx_gateway.websocket.hocuspocus.connection import NamedFrames
from svgx_gateway.websocket.hocuspocus.socket import LARGE_BYTES, HocuspocusSocket
from svgx_gateway.websocket.sessions.join_retries import JoinRetries
from svgx_gateway.websocket.sessions.session import Connect, Session, Sessions
from svgx_gateway.websocket.transport.inflow import Inflow, InflowLimits, LargeMessages
from svgx_gateway.websocket.transport.protocol import INFLOW, WRITE_FRAME
from svgx_yjs import protocol
from svgx_yjs.hocuspocus import AUTH, CLOSE, TOKEN, Writer
from svgx_yjs.lib0 import Encoder
from tests.log_reader import read_logs
from tests.polling import pause

HANDSHAKE_SECONDS = 1234.0


class WaitingSessions:
    """Sessions that accept each token, or refuse it with `refusal`, and never join a canvas."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.authenticator = self
        self.join_retries = JoinRetries()
        self.joining = asyncio.Event()

    async def authenticate_message(self, token: str, websocket: WebSocket) -> Identity:
        """Return an identity, or raise the refusal."""
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        return Identity(Caller("ann", "ann", Role.EDITOR, "session"), NEVER)

    @contextlib.asynccontextmanager
    async def join(self, *_: Any, **__: Any) -> AsyncIterator[Session]:
        """Wait for ever."""
        self.joining.set()
        await asyncio.Event().wait()
        yield cast("Session", None)


async def open_socket(
    events: asyncio.Queue[Message],
    sessions: WaitingSessions,
    counted: list[Caller | None],
    sent: list[Message] | None = None,
    inflow: Inflow | None = None,
) -> HocuspocusSocket:
    """Return a socket that reads `events`, adds its handshakes' callers to `counted`, and its messages to `sent`."""
    scope = {
        "type": "websocket",
        "client": ("127.0.0.1", 1),
        "query_string": b"",
        WRITE_FRAME: lambda _: True,
        INFLOW: inflow,
    }

    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        if sent is not None:
            sent.append(message)

    websocket = WebSocket(scope, events.get, send)
    await events.put({"type": "websocket.connect"})
    await websocket.accept()
    limits = SocketLimits(10, 10, HANDSHAKE_SECONDS, 1000)

    async def count_handshake(
        _: HTTPConnection, caller: Caller | None, __: MutableMapping[str, str]
    ) -> None:
        await asyncio.sleep(0)
        counted.append(caller)

    return HocuspocusSocket(
        websocket,
        cast("Sessions", sessions),
        Admission(limits),
        NamedFrames(),
        count_handshake=count_handshake,
        on_document_admitted=lambda: None,
    )


async def send_token(events: asyncio.Queue[Message], document: str = "a") -> None:
    """Send the message that opens a document."""
    frame = Encoder().text(document).uint(AUTH).uint(TOKEN).text("token").finish()
    await events.put({"type": "websocket.receive", "bytes": frame})


async def send_edit(events: asyncio.Queue[Message], document: str, size: int) -> None:
    """Send an edit of `size` bytes."""
    frame = Writer(document).named(protocol.encode_update(bytes(size)))
    await events.put({"type": "websocket.receive", "bytes": frame})


async def test_refused_token_counts_as_a_handshake_of_its_address() -> None:
    """A token counts as a handshake, also after its address has sent too many unknown keys. Proves R-HOCUS-10."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    counted: list[Caller | None] = []
    socket = await open_socket(events, WaitingSessions(TooManyRequests()), counted)
    await send_token(events)
    assert (await socket.run()).code is Close.OVERLOADED
    assert counted == [None]


class FailingSessions(WaitingSessions):
    """Sessions that accept each token, connect, and fail to join."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = Outgoing()
        self.connections: list[Connection] = []

    @contextlib.asynccontextmanager
    async def join(
        self, websocket: WebSocket, identity: Identity, canvas_id: str, connect: Connect, **_: Any
    ) -> AsyncIterator[Session]:
        """Connect, then fail."""
        del websocket, identity, canvas_id
        self.connections.append(connect(CanvasRole.EDITOR, None))
        if self.connections:
            raise Overloaded()
        yield cast("Session", None)


async def test_failed_join_ends_its_connection() -> None:
    """Proves R-SOCKET-8: a task of the canvas sends nothing more to the connection of a failed join."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    sessions = FailingSessions()
    socket = await open_socket(events, sessions, [])
    await send_token(events)
    assert (await socket.run()).code is Close.OVERLOADED
    assert [each.flow for each in sessions.connections] == [Ended()]


async def test_idle_timer_does_not_run_after_the_end_of_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A socket that ends with an open document does not count as idle later."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    timers: list[asyncio.TimerHandle] = []

    def note_timer(delay: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
        timer = call_later(delay, *args, **options)
        if delay == HANDSHAKE_SECONDS:
            timers.append(timer)
        return timer

    monkeypatch.setattr(loop, "call_later", note_timer)
    events: asyncio.Queue[Message] = asyncio.Queue()
    sessions = WaitingSessions()
    socket = await open_socket(events, sessions, [])
    running = asyncio.create_task(socket.run())
    await send_token(events)
    await sessions.joining.wait()
    await events.put({"type": "websocket.disconnect", "code": 1000})
    assert (await running).code is Close.NORMAL
    assert timers
    assert all(timer.cancelled() for timer in timers)


@pytest.mark.parametrize("event", [{"type": "websocket.disconnect", "code": 1006}, None])
async def test_document_has_two_lines_when_the_join_or_the_socket_ends(
    event: Message | None,
) -> None:
    """The line of the end has the close code, also if no session began. Proves R-OBS-9."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    sessions = WaitingSessions() if event is not None else FailingSessions()
    with read_logs("gateway") as log:
        socket = await open_socket(events, sessions, [])
        running = asyncio.create_task(socket.run())
        await send_token(events)
        if event is not None:
            await sessions.joining.wait()
            await events.put(event)
        closing = await running
        lines = log.read()
    assert [line["event"] for line in lines] == [
        "websocket opened",
        "document opened",
        "document closed",
    ]
    assert {line["user_id"] for line in lines} == {"ann"}
    assert [line.get("canvas_id") for line in lines] == [None, "a", "a"]
    assert lines[-1]["close_code"] == closing.code
    assert closing.code == (Close.NORMAL if event is not None else Close.OVERLOADED)


class DelayedSessions(WaitingSessions):
    """Sessions that join once `may_join` is set, and note each connection. The session handles no message."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = Outgoing()
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.may_join = asyncio.Event()
        self.role = CanvasRole.EDITOR

    @contextlib.asynccontextmanager
    async def join(
        self, websocket: WebSocket, identity: Identity, canvas_id: str, connect: Connect, **_: Any
    ) -> AsyncIterator[Session]:
        """Wait, and connect."""
        del websocket, identity, canvas_id
        self.joining.set()
        await self.may_join.wait()
        connection = connect(self.role, None)
        await self.connections.put(connection)
        yield cast("Session", self)

    async def handle(self, message: protocol.Message) -> None:
        """Wait for ever."""
        del message
        await asyncio.Event().wait()


@pytest.mark.parametrize("have_joined", [False, True])
async def test_socket_is_not_read_while_many_bytes_wait(*, have_joined: bool) -> None:
    """The messages for all documents of a socket count together, also after the joins.

    Proves R-FAIL-26 and R-SOCKET-3.
    """
    events: asyncio.Queue[Message] = asyncio.Queue()
    sessions = DelayedSessions()
    if have_joined:
        sessions.may_join.set()
    socket = await open_socket(events, sessions, [])
    running = asyncio.create_task(socket.run())
    documents = ("a", "b", "c")
    for document in documents:
        await send_token(events, document)
    for document in documents if have_joined else ():
        await sessions.connections.get()
        await send_edit(events, document, 1)  # the session handles this edit for ever
    for document in documents:
        await send_edit(events, document, LARGE_BYTES // 3)
    await send_edit(events, "a", 1)
    await sessions.joining.wait()
    while events.qsize() > 1:
        await pause()
    for _ in range(100):
        await asyncio.sleep(0)
    assert events.qsize() == 1, "the edits of a, b and c were read, and the last one was not"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def send_leave(events: asyncio.Queue[Message], document: str) -> None:
    """Send the message with which a provider detaches from its document."""
    frame = Encoder().text(document).uint(CLOSE).finish()
    await events.put({"type": "websocket.receive", "bytes": frame})


@pytest.mark.parametrize("has_joined", [True, False])
async def test_left_document_sends_nothing_while_its_edits_wait(*, has_joined: bool) -> None:
    """The new document of this name gets no status of an edit before the leave. Proves R-HOCUS-12."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    sessions = DelayedSessions()
    socket = await open_socket(events, sessions, [])
    running = asyncio.create_task(socket.run())
    await send_token(events)
    await sessions.joining.wait()
    if has_joined:
        sessions.may_join.set()
        while sessions.connections.empty():
            await pause()
    await send_edit(events, "a", 1)
    await send_leave(events, "a")
    await send_token(events)
    while events.qsize():
        await pause()
    sessions.may_join.set()
    left, opened = [await sessions.connections.get() for _ in range(2)]
    assert isinstance(left.flow, Ended)
    assert bool(left.written_bytes) is has_joined, "only a joined document gets its scope"
    assert not isinstance(opened.flow, Ended)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_refusal_of_a_left_document_does_not_reach_the_client() -> None:
    """The client would close the document that it has opened with the same name. Proves R-HOCUS-12."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[Message] = []
    sessions = DelayedSessions()
    socket = await open_socket(events, sessions, [], sent)
    running = asyncio.create_task(socket.run())
    await send_token(events)
    await sessions.joining.wait()
    await send_edit(events, "a", 1)
    await send_leave(events, "a")
    while events.qsize():
        await pause()
    sessions.may_join.set()
    left = await sessions.connections.get()
    left.close(Close.FORBIDDEN, "no role on the canvas")
    await send_token(events)
    await sessions.connections.get()
    assert [each["type"] for each in sent] == ["websocket.accept"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_socket_is_a_viewers_only_while_all_roles_are_known_and_none_may_edit() -> None:
    """The first large message of an editor does not wait for the memory of viewers. Proves R-SOCKET-3."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    sessions = DelayedSessions()
    sessions.role = CanvasRole.VIEWER
    inflow = Inflow(InflowLimits(), LargeMessages(LARGE_BYTES))

    def is_viewer() -> bool:
        return inflow.is_viewer

    socket = await open_socket(events, sessions, [], inflow=inflow)
    running = asyncio.create_task(socket.run())
    await send_token(events, "viewed")
    await sessions.joining.wait()
    assert not is_viewer(), "no role is known"
    sessions.may_join.set()
    viewed = await sessions.connections.get()
    assert is_viewer()
    sessions.may_join.clear()
    sessions.joining.clear()
    await send_token(events, "edited")
    await sessions.joining.wait()
    assert not is_viewer(), "one role is not known"
    sessions.role = CanvasRole.EDITOR
    sessions.may_join.set()
    edited = await sessions.connections.get()
    assert not is_viewer()
    for ended, left_to_viewer in ((edited, True), (viewed, False)):
        ended.close(Close.FORBIDDEN, "no role on the canvas")
        while is_viewer() != left_to_viewer:
            await pause()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not is_viewer(), "the socket has no document"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
