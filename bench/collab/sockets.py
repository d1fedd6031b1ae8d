"""Raw WebSocket clients in one thread: they send prebuilt frames, count received frames, and decode no messages.

This thread must not be the bottleneck. A loop over `epoll` takes 8 µs of processor time for a frame that arrives alone,
system calls included (medians of three runs with 200 connections). The same work takes 10 µs with picows, 11 µs with
uvloop, 12 µs with asyncio and 15 µs with `ws` in Node.
Sampled clients also store the received bytes with their time of arrival. These bytes are decoded after the measurement.
"""

import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.collab.frames import CLOSE, PING, PONG, Target, frame
from svgx_yjs.protocol import STEP_2, SYNC

_BUFFER_BYTES = 1024 * 1024
_HEAD_BYTES = 80
"""Bytes at the start of a message that are enough to find its type: a document's name and two type numbers."""

_OPEN_SECONDS = 30.0
_MOST_OPENING = 20
"""Clients that connect at the same time, unless a measurement is about connecting."""


class Refused(Exception):
    """The server did not accept a connection, or closed it."""


@dataclass(slots=True, eq=False)
class Client:
    """One connection.

    `received`: the number of received frames. `closed`: None while the connection is open; then the close code, or 0
    without a close frame. `reason`: the beginning of the text of the close frame. `refusal`: the beginning of the
    response that refused the handshake. `record`: chunks of received bytes with their time in ns; None for clients that
    store nothing. `synced_ns`: the time at which the whole document had arrived; 0 before.
    """

    target: Target
    socket: socket.socket
    received: int = 0
    received_bytes: int = 0
    closed: int | None = None
    reason: str = ""
    refusal: str = ""
    record: list[tuple[int, bytes]] | None = None
    synced_ns: int = 0
    unsent: bytearray = field(default_factory=bytearray)
    is_open: bool = False
    _tail: bytes = b""
    """Bytes of an incomplete handshake response, or of a frame of which too little has arrived to examine it."""
    _skip: int = 0
    """Bytes of the last frame's payload that have not arrived."""
    _record_skip: int = 0
    """The value of `_skip` when the record began."""
    _document_arrives: bool = False
    """Whether a part of the message with the document has arrived, and the rest has not."""

    def start_record(self) -> None:
        """Store all bytes that arrive from now on, after the bytes of an incomplete frame in `_tail`."""
        self.record = [(0, self._tail)]
        self._record_skip = self._skip

    @property
    def recorded(self) -> tuple[Sequence[tuple[int, bytes]], int]:
        """The stored chunks, and the number of bytes before the first frame."""
        return self.record or [], self._record_skip

    def shake_hands(self, data: bytes) -> bytes | None:
        """Take bytes of the response to the handshake. Return the bytes after a complete response, or else None.

        Set `refusal` if the response refuses the handshake.
        """
        head, separator, rest = (self._tail + data).partition(b"\r\n\r\n")
        self._tail = b""
        if not separator:
            self._tail = head
            return None
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            self.refusal = head[:200].decode(errors="replace")
            return None
        self.is_open = True
        return rest

    def scan(self, data: memoryview, now: int) -> None:
        """Count the frames in received bytes. Answer pings, and note a close and the arrival of the document."""
        self.received_bytes += len(data)
        if self.record is not None:
            self.record.append((now, bytes(data)))
        if self._tail:
            data = memoryview(self._tail + bytes(data))
            self._tail = b""
        size = len(data)
        position = self._skip
        if self._document_arrives and position <= size:
            self.synced_ns, self._document_arrives = now, False
        while position < size:
            left = size - position
            header, length = 2, data[position + 1] if left > 1 else 0
            if length == 126:
                header = 4
                length = int.from_bytes(data[position + 2 : position + 4])
            elif length == 127:
                header = 10
                length = int.from_bytes(data[position + 2 : position + 10])
            first = data[position]
            is_examined = first != 0x82 or not self.synced_ns
            if left < header + (min(length, _HEAD_BYTES) if is_examined else 0):
                self._tail = bytes(data[position:])
                self._skip = 0
                return
            position += header
            if is_examined:
                self._examine(first, bytes(data[position : position + min(length, _HEAD_BYTES)]))
            self.received += 1
            position += length
            if self._document_arrives and position <= size:
                self.synced_ns, self._document_arrives = now, False
        self._skip = position - size

    def _examine(self, first: int, head: bytes) -> None:
        if first == PING:
            self.unsent += frame(head, PONG)
        elif first == CLOSE:
            self.closed = int.from_bytes(head[:2]) if head else 1005
            self.reason = head[2:].decode(errors="replace")
        elif head.startswith(self.target.prefix + bytes((SYNC, STEP_2))):
            self._document_arrives = True


@dataclass(frozen=True, slots=True)
class Send:
    """A frame that a client sends. `due` is in ns after the start of the run."""

    due: int
    client: Client
    data: bytes
    stamps: list[int]
    """The time at which the frame was handed to the system is appended here, in ns."""


class Clients:
    """All raw clients of a measurement. The caller closes this object at the end."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.longest_delay_ns = 0
        """The longest time between the moment at which a frame was due and its sending."""

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._epoll.close()

    @property
    def received_bytes(self) -> int:
        """Bytes that all clients have received."""
        return sum(client.received_bytes for client in self._clients.values())

    def open(
        self, targets: Iterable[Target], at_once: int = _MOST_OPENING, *, record: bool = False
    ) -> list[Client]:
        """Connect clients and wait until each has its document.

        With `record`, all bytes that the clients receive are stored. `at_once` clients connect at a time.
        Raises `Refused` when the server refuses or closes a connection, or when a client gets no document within 30 s.
        """
        waiting = list(targets)
        opened: list[Client] = []
        while waiting:
            group = [self._connect(target, record) for target in waiting[:at_once]]
            del waiting[:at_once]
            until = time.monotonic() + _OPEN_SECONDS
            while not all(client.synced_ns for client in group):
                self.run(0.02, done=lambda group=group: all(c.synced_ns for c in group))  # type: ignore[misc]
                if reason := _refusal(group, is_late=time.monotonic() > until):
                    self.drop(group)
                    raise Refused(reason)
            opened += group
        return opened

    def drop(self, clients: Iterable[Client]) -> None:
        """Close connections without a close frame."""
        for client in clients:
            if self._clients.pop(client.socket.fileno(), None) is not None:
                client.socket.close()

    def send(self, client: Client, data: bytes) -> None:
        """Send bytes. Bytes that the system does not take are sent when the socket is ready."""
        if client.closed is not None:
            return
        if not client.unsent:
            try:
                sent = client.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                client.closed = 0
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._epoll.modify(client.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        client.unsent += data

    def run(
        self, seconds: float, sends: Sequence[Send] = (), done: Callable[[], bool] | None = None
    ) -> None:
        """Send the frames at their times, and receive.

        Return when all frames are sent and `seconds` have passed, or as soon as `done` returns True.
        """
        start = time.monotonic_ns()
        end = start + int(seconds * 1e9)
        position, count = 0, len(sends)
        monotonic, poll = time.monotonic_ns, self._epoll.poll
        while True:
            now = monotonic()
            while position < count and start + sends[position].due <= now:
                each = sends[position]
                position += 1
                each.stamps.append(now)
                self.longest_delay_ns = max(self.longest_delay_ns, now - start - each.due)
                self.send(each.client, each.data)
                now = monotonic()
            if (now >= end and position == count) or (done is not None and done()):
                return
            next_due = start + sends[position].due if position < count else end
            self._receive(poll(max(0.0, (next_due - now) / 1e9), 512))

    def _connect(self, target: Target, record: bool) -> Client:
        connection = socket.create_connection(("127.0.0.1", target.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        client = Client(target, connection)
        if record:
            client.start_record()
        self._clients[connection.fileno()] = client
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self.send(client, target.handshake())
        return client

    def _receive(self, events: Iterable[tuple[int, int]]) -> None:
        monotonic, buffer = time.monotonic_ns, self._buffer
        for descriptor, mask in events:
            client = self._clients.get(descriptor)
            if client is None:  # dropped after the call of poll
                continue
            if mask & select.EPOLLOUT and client.closed is None:
                self._send_rest(client)
            if not mask & ~select.EPOLLOUT:
                continue
            try:
                size = client.socket.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError:
                size = 0
            if not size:
                self._end(client)
            elif client.is_open:
                client.scan(buffer[:size], monotonic())
                if client.unsent and client.closed is None:
                    self._send_rest(client)
            else:
                self._shake_hands(client, bytes(buffer[:size]))

    def _end(self, client: Client) -> None:
        client.closed = client.closed or 0
        self._epoll.unregister(client.socket.fileno())

    def _shake_hands(self, client: Client, data: bytes) -> None:
        rest = client.shake_hands(data)
        if client.refusal:
            self._end(client)
        elif rest is not None:
            self.send(client, client.target.opening_frames())
            client.scan(memoryview(rest), time.monotonic_ns())

    def _send_rest(self, client: Client) -> None:
        try:
            sent = client.socket.send(client.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            client.closed = 0
            client.unsent.clear()
            sent = 0
        del client.unsent[:sent]
        mask = select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0)
        self._epoll.modify(client.socket.fileno(), mask)


def _refusal(group: Iterable[Client], *, is_late: bool) -> str:
    """Return the reason why clients will get no document, or an empty text."""
    waiting = 0
    for client in group:
        if client.refusal:
            return f"the server refused a connection: {client.refusal}"
        if client.closed is not None:
            return f"the server closed a connection: {client.closed} {client.reason}"
        waiting += not client.synced_ns
    return f"{waiting} clients got no document in {_OPEN_SECONDS:g} s" if is_late else ""
