"""A receiver of webhooks: an HTTP server on this machine that records requests and sends the test's responses."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Answer = str | None
"""The whole response as text. None closes the connection without a response."""


def status(code: int, *headers: str) -> str:
    """Return the text of a response with this status code and without a body."""
    return "\r\n".join((f"HTTP/1.1 {code} x", "Content-Length: 0", *headers, "", ""))


@dataclass(frozen=True, slots=True)
class Received:
    """A recorded request. `at` is the time of its arrival by the monotonic clock."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        """Return the event in the body."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def is_signed_with(self, secret: str) -> bool:
        """Return whether the signature is valid, checked as a receiver of Standard Webhooks does."""
        kind, _, key = secret.partition("_")
        assert kind == "whsec"
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        digest = hmac.digest(base64.b64decode(key), signed + self.body, hashlib.sha256)
        age = abs(time.time() - int(self.headers["webhook-timestamp"]))
        signatures = [each.partition(",") for each in self.headers["webhook-signature"].split(" ")]
        return age < 300 and any(
            version == "v1" and base64.b64decode(signature) == digest
            for version, _, signature in signatures
        )


@dataclass
class Receiver:
    """The server that receives webhooks. `answer` returns the response to a request.

    The server sends the response once `may_answer` is set.

    `open` is the number of open connections. `most_open` is the largest number of connections that were open at a time.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Answer] = lambda _: status(204)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0
    most_open: int = 0
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(self, count: int, seconds: float = 20) -> list[Received]:
        """Wait until `count` requests have arrived, and return all requests."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection with one request."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value for name, value in (each.split(": ", 1) for each in lines)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            request = Received(line.split()[1], headers, body, time.monotonic())
            async with self._arrived:
                self.received.append(request)
                self._arrived.notify_all()
            is_open = await self._wait_to_answer(reader)
            answer = self.answer(request)
            if is_open and answer is not None:
                writer.write(answer.encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _wait_to_answer(self, reader: asyncio.StreamReader) -> bool:
        """Wait until `may_answer` is set, and return True. Return False when the client closes the connection first."""
        released = asyncio.create_task(self.may_answer.wait())
        ended = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({released, ended}, return_when=asyncio.FIRST_COMPLETED)
            return released.done()
        finally:
            released.cancel()
            ended.cancel()
            await asyncio.gather(released, ended, return_exceptions=True)


@asynccontextmanager
async def receiver(answer: Callable[[Received], Answer] | None = None) -> AsyncIterator[Receiver]:
    """Start a receiver on a free port of 127.0.0.1."""
    running = Receiver()
    running.may_answer.set()
    if answer is not None:
        running.answer = answer
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield running
    finally:
        running.may_answer.set()
        server.close()
