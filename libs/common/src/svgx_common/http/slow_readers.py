"""Abort the connections of clients that do not read their responses.

A response waits in the transport until the client's system has taken its bytes. Closing a transport waits for the same,
without a time limit. Only an abort ends the connection of a client that reads nothing, and frees its memory.
"""

import asyncio
import socket
import struct
import sys

from prometheus_client import Counter, Gauge

MEASURE_SECONDS = 20.0
"""Length of a measurement of a client's rate, and the wait between a response and the first one, in seconds."""

MIN_RATE = 1024
"""Minimum rate at which a client has to take the bytes that wait for it, in bytes a second."""

SCARCE_BYTES = 128 * 1024 * 1024
"""While more bytes than this wait for slow clients, `SCARCE_RATE` is required of each of them."""

SCARCE_RATE = 64 * 1024
"""Minimum rate while more than `SCARCE_BYTES` wait, in bytes a second."""

SLOW = Counter(
    "svgx_engine_http_slow_readers",
    "Connections ended because the client read its responses too slowly.",
)

UNREAD = Gauge(
    "svgx_engine_http_unread_bytes",
    "Bytes of responses that wait for slow clients, measured every 20 seconds.",
)

_INFO_BYTES = 128
_ACKNOWLEDGED_OFFSET = 120
"""The offset of `tcpi_bytes_acked` in `struct tcp_info` (tcp(7); linux/tcp.h, since Linux 4.1), in bytes."""


class SlowReaders:
    """The bytes that wait for the slow clients of a process, at the last measurement of each client."""

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def min_rate(self) -> int:
        """The rate that is required of each client, in bytes a second."""
        return SCARCE_RATE if self.bytes > SCARCE_BYTES else MIN_RATE


class SlowReaderCheck:
    """The check of one connection. It measures only while bytes wait for the client."""

    __slots__ = ("_acknowledged", "_all_readers", "_timer", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, all_readers: SlowReaders) -> None:
        self._transport = transport
        self._all_readers = all_readers
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        """The bytes that waited at the begin of the measurement. 0 before the first measurement."""
        self._acknowledged = 0
        """The bytes that the client's system had taken at the begin of the measurement."""

    def begin(self) -> None:
        """Begin the check, if bytes wait for the client. Call this after each write."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._continue()

    def end(self) -> None:
        """End the check."""
        self._set_waiting(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _continue(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(MEASURE_SECONDS, self._measure)

    def _measure(self) -> None:
        """End a measurement. Abort the connection of a slow client, and else begin the next measurement."""
        self._timer = None
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._set_waiting(0)
            return
        acknowledged = acknowledged_bytes(self._transport)
        if self._waiting and self._is_slow(waiting, acknowledged):
            SLOW.inc()
            self._set_waiting(0)
            self._transport.abort()
            return
        self._set_waiting(waiting)
        self._acknowledged = acknowledged
        self._continue()

    def _set_waiting(self, waiting: int) -> None:
        if waiting != self._waiting:
            self._all_readers.bytes += waiting - self._waiting
            UNREAD.inc(waiting - self._waiting)
            self._waiting = waiting

    def _is_slow(self, waiting: int, acknowledged: int) -> bool:
        """Return whether the client left some of the waiting bytes, and took less than the minimum rate requires."""
        if not acknowledged:
            return waiting == self._waiting
        taken = acknowledged - self._acknowledged
        return taken < min(self._waiting, self._all_readers.min_rate * MEASURE_SECONDS)


def acknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the number of bytes that the client's system has taken, or 0 where this system does not count them.

    The size of the transport's buffer does not show it. The kernel takes bytes out of this buffer in portions of up to
    megabytes, so the size may stay the same for minutes while a client reads.
    """
    if sys.platform != "linux":
        return 0
    try:
        info = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES
        )
    except OSError:
        return 0
    if len(info) < _INFO_BYTES:
        return 0
    count: int = struct.unpack_from("=Q", info, _ACKNOWLEDGED_OFFSET)[0]
    return count
