"""Payloads over 512 KiB: the sender keeps them and the receiver pulls them in pieces.

NATS refuses messages over its `max_payload` (1 MiB here). A large body is therefore offered under a subject of its
sender, which the message names in a header; whoever receives the message requests the pieces. Pulling works with
queue groups (any replica may be the one that pulls), limits what is in flight, and needs no state between
messages.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from svgx_common.contract.errors import Overloaded, TooLarge, Unavailable
from svgx_common.contract.transport import blob_subject, is_inbox

PIECE = 512 * 1024
"""Bytes a piece; also the largest body that travels inside its message."""

WINDOW = 4
"""Pieces requested at a time."""

LINGER = 30.0
"""Seconds a broadcast or an answer stays available to those who have not pulled it yet."""

MAX_OFFERED = 512 * 1024 * 1024
"""Bytes one process offers at a time."""

MAX_PULLED = 256 * 1024 * 1024
"""The largest body a receiver accepts, in bytes."""

PULL_TIMEOUT = 5.0
"""Seconds to wait for one piece."""


def too_large(size: int, limit: int) -> TooLarge:
    """The refusal of a body of `size` bytes."""
    return TooLarge(f"body: {size} bytes, at most {limit}", field="body", limit=limit)


class Blobs:
    """What this process offers, and the way to pull what others offer."""

    def __init__(self, connection: Client, service: str, replica_id: str) -> None:
        self._connection = connection
        self._service = service
        self._replica_id = replica_id
        self._offered: dict[str, bytes] = {}
        self._unread: dict[str, int] = {}
        self._bytes = 0

    @property
    def offered_bytes(self) -> int:
        """Bytes offered at the moment."""
        return self._bytes

    async def start(self) -> None:
        """Answer requests for pieces."""
        await self._connection.subscribe(
            blob_subject(self._service, self._replica_id, "*"), cb=self._serve
        )

    @contextlib.contextmanager
    def offer(self, content: bytes) -> Iterator[str]:
        """Offer `content` within the block; the value is what `pull` takes. Raises `Overloaded`."""
        reference = self._add(content)
        try:
            yield reference
        finally:
            self._remove(reference)

    def linger(self, content: bytes, *, once: bool = False) -> str:
        """Offer `content` for `LINGER` seconds, or until it was pulled once. Raises `Overloaded`."""
        reference = self._add(content)
        if once:
            self._unread[reference.partition(" ")[0]] = len(content)
        asyncio.get_running_loop().call_later(LINGER, self._remove, reference)
        return reference

    async def pull(self, reference: str, *, limit: int = MAX_PULLED) -> bytes:
        """Fetch what another process offers. Raises `Unavailable` when it is gone, `TooLarge` past `limit` bytes."""
        subject, _, size_text = reference.partition(" ")
        if not size_text.isdecimal() or not subject.startswith("svgx.blob."):
            raise Unavailable("a large message names no sender that can be asked for it")
        size = int(size_text)
        if size > min(limit, MAX_PULLED):
            raise too_large(size, min(limit, MAX_PULLED))
        window = asyncio.Semaphore(WINDOW)
        try:
            async with asyncio.TaskGroup() as group:
                pieces = [
                    group.create_task(self._pull_piece(subject, offset, window))
                    for offset in range(0, size, PIECE)
                ]
        except* (NatsError, TimeoutError):
            pieces = []
        content = b"".join(piece.result() for piece in pieces)
        if len(content) != size:
            raise Unavailable("the sender of a large message is gone")
        return content

    async def _pull_piece(self, subject: str, offset: int, window: asyncio.Semaphore) -> bytes:
        async with window:
            message = await self._connection.request(
                subject, str(offset).encode(), timeout=PULL_TIMEOUT
            )
            return message.data

    async def _serve(self, message: Msg) -> None:
        if not is_inbox(message.reply):
            return
        content = self._offered.get(message.subject, b"")
        offset = int(message.data) if message.data.isdigit() else len(content)
        piece = content[offset : offset + PIECE]
        await message.respond(piece)
        if message.subject in self._unread:
            self._unread[message.subject] -= len(piece)
            if self._unread[message.subject] <= 0:
                self._remove(message.subject)

    def _add(self, content: bytes) -> str:
        if self._bytes + len(content) > MAX_OFFERED:
            raise Overloaded("too many large messages are in flight", limit=MAX_OFFERED)
        subject = blob_subject(self._service, self._replica_id, secrets.token_hex(16))
        self._offered[subject] = content
        self._bytes += len(content)
        return f"{subject} {len(content)}"

    def _remove(self, reference: str) -> None:
        subject = reference.partition(" ")[0]
        self._unread.pop(subject, None)
        content = self._offered.pop(subject, b"")
        self._bytes -= len(content)
