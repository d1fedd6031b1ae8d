"""An HTTP client with little overhead: one request after the other on each connection."""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import httptools
import psutil


@dataclass(frozen=True, slots=True)
class Server:
    """A server process on a port of this machine."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time so far, in seconds."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one measurement.

    `times`: the sorted response times in ms. `seconds`: the duration. `cpu_seconds`: the server's processor time.
    """

    times: list[float]
    seconds: float
    cpu_seconds: float

    @property
    def cost(self) -> float:
        """The server's processor time for one request, in ms. It does not depend on other processes of the machine."""
        return self.cpu_seconds / len(self.times) * 1000

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        """Return the time that this share of the requests did not exceed, in ms."""
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))]


async def run(server: Server, headers: dict[str, str], connections: int, seconds: float) -> Result:
    """Request `/auth/me` on all connections for `seconds`.

    Raises `RuntimeError` for a response other than 200, and when the server closes a connection.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET /auth/me HTTP/1.1\r\nHost: bench\r\n{lines}\r\n".encode()
    loop = asyncio.get_running_loop()
    started, cpu_before = time.perf_counter(), server.cpu_seconds()
    clients = [_Client(request, started + seconds) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", server.port)  # type: ignore[misc]
    await asyncio.gather(*(client.done for client in clients))
    duration = time.perf_counter() - started
    times = sorted(each for client in clients for each in client.times)
    return Result(times, duration, server.cpu_seconds() - cpu_before)


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, deadline: float) -> None:
        self._request = request
        self._deadline = deadline
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the server closed the connection"))

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self.times.append((now - self._sent_at) * 1000)
        if (status := self._parser.get_status_code()) != 200:
            self.done.set_exception(RuntimeError(f"the server answered with status {status}"))
        elif now > self._deadline:
            self.done.set_result(None)
        else:
            self._send()
            return
        self._transport.close()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)
