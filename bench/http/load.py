"""A client that costs as little as possible: one request after the other on each of some connections."""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import httptools
import psutil


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers on a port of this machine."""

    port: int
    pid: int

    def busy(self) -> float:
        """Processor time so far, in seconds."""
        spent = psutil.Process(self.pid).cpu_times()
        return spent.user + spent.system


@dataclass(frozen=True, slots=True)
class Result:
    """Times in milliseconds, sorted; `seconds` is how long it took, `busy` the server's processor time in seconds."""

    times: list[float]
    seconds: float
    busy: float

    @property
    def cost(self) -> float:
        """Processor time of the server for one request, in ms: it does not depend on what else the machine does."""
        return self.busy / len(self.times) * 1000

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        """The time that this share of the requests did not exceed, in ms."""
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))]


async def run(server: Server, headers: dict[str, str], connections: int, seconds: float) -> Result:
    """Ask `/auth/me` for so long. Raises `RuntimeError` when an answer is not 200."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET /auth/me HTTP/1.1\r\nHost: bench\r\n{lines}\r\n".encode()
    loop = asyncio.get_running_loop()
    began, busy = time.perf_counter(), server.busy()
    clients = [_Client(request, began + seconds) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", server.port)  # type: ignore[misc]
    await asyncio.gather(*(client.done for client in clients))
    took = time.perf_counter() - began
    times = sorted(each for client in clients for each in client.times)
    return Result(times, took, server.busy() - busy)


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the server closed the connection"))

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self.times.append((now - self._began) * 1000)
        if (status := self._parser.get_status_code()) != 200:
            self.done.set_exception(RuntimeError(f"answered with {status}"))
        elif now > self._until:
            self.done.set_result(None)
        else:
            self._ask()
            return
        self._transport.close()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._began = time.perf_counter()
        self._transport.write(self._request)
