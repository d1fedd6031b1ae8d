"""Payloads over 512 KiB. The sender offers such a body on a subject of its own, and the receiver pulls it in pieces.

NATS refuses messages over its `max_payload` (1 MiB here), so a header of the message contains a reference to the body
instead: the subject and the size. The receiver requests the pieces from that subject. Pulling works with queue groups,
because any replica may pull. Pulling also limits the bytes in flight. The receiver requests several pieces at the same
time, because the requests are independent of each other.
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

PIECE_BYTES = 512 * 1024
"""Size of a piece in bytes. A body of at most this size is sent inside its message."""

MAX_PIECES_OF_BODY = 4
"""Maximum number of pieces of one body that are requested at the same time."""

MAX_PIECES = 32
"""Maximum number of pieces of all bodies that a process requests at the same time. They have 16 MiB.

NATS keeps at most 64 MiB for a connection that reads slowly. Beyond this limit, it closes the connection.
"""

OFFER_SECONDS = 30.0
"""Time in seconds in which receivers can pull a broadcast or an answer. Beyond it, the offer ends."""

MAX_OFFERED_BYTES = 512 * 1024 * 1024
"""Maximum number of bytes that one process offers at a time. Beyond it, an offer raises `Overloaded`."""

MAX_PULLED_BYTES = 256 * 1024 * 1024
"""Maximum size in bytes of a body that a receiver accepts. Beyond it, `pull` raises `TooLarge`."""

PULL_SECONDS = 5.0
"""Time limit of the request for one piece, in seconds. Beyond it, the sender counts as gone."""


def too_large(size: int, limit: int) -> TooLarge:
    """Return the error for a body of `size` bytes."""
    return TooLarge(f"body: {size} bytes, at most {limit}", field="body", limit=limit)


class Blobs:
    """The bodies that this process offers, and the client that pulls other processes' bodies."""

    def __init__(self, connection: Client, service: str, replica_id: str) -> None:
        self._connection = connection
        self._service = service
        self._replica_id = replica_id
        self._offered: dict[str, bytes] = {}
        self._unread: dict[str, int] = {}
        """The number of bytes not pulled yet, for each body with only one receiver."""
        self._progress = asyncio.Event()
        """Set when a piece was sent, and when an offer has ended."""
        self._offered_bytes = 0
        self._all_pieces = asyncio.Semaphore(MAX_PIECES)

    @property
    def offered_bytes(self) -> int:
        """The bytes offered at the moment."""
        return self._offered_bytes

    async def start(self) -> None:
        """Answer requests for pieces."""
        await self._connection.subscribe(
            blob_subject(self._service, self._replica_id, "*"), cb=self._serve
        )

    @contextlib.contextmanager
    def offer(self, content: bytes) -> Iterator[str]:
        """Offer `content` within the block, and yield its reference for `pull`.

        Raise `Overloaded` if the process would offer more than `MAX_OFFERED_BYTES`.
        """
        reference = self._add(content)
        try:
            yield reference
        finally:
            self._remove(reference)

    def offer_for_a_while(self, content: bytes, *, once: bool = False) -> str:
        """Offer `content` for `OFFER_SECONDS` and return its reference. Raise `Overloaded` as `offer` does.

        With `once`, the offer ends as soon as the content was pulled once.
        """
        reference = self._add(content)
        if once:
            self._unread[reference.partition(" ")[0]] = len(content)
        asyncio.get_running_loop().call_later(OFFER_SECONDS, self._remove, reference)
        return reference

    async def wait_until_pulled(self) -> None:
        """Wait until all bodies with only one receiver are pulled, or no piece was requested for `PULL_SECONDS`."""
        with contextlib.suppress(TimeoutError):
            while self._unread:
                self._progress.clear()
                async with asyncio.timeout(PULL_SECONDS):
                    await self._progress.wait()

    async def pull(self, reference: str, *, limit: int = MAX_PULLED_BYTES) -> bytes:
        """Return the body that another process offers.

        Raise `TooLarge` for more than `limit` bytes. Raise `Unavailable` when the body is no longer offered, or the
        reference is malformed.
        """
        subject, _, size_text = reference.partition(" ")
        if not size_text.isdecimal() or not subject.startswith("svgx.blob."):
            raise Unavailable("the reference to a large message is malformed")
        size = int(size_text)
        if size > min(limit, MAX_PULLED_BYTES):
            raise too_large(size, min(limit, MAX_PULLED_BYTES))
        window = asyncio.Semaphore(MAX_PIECES_OF_BODY)
        try:
            async with asyncio.TaskGroup() as group:
                pieces = [
                    group.create_task(self._pull_piece(subject, offset, window))
                    for offset in range(0, size, PIECE_BYTES)
                ]
        except* (NatsError, TimeoutError):
            pieces = []
        content = b"".join(piece.result() for piece in pieces)
        if len(content) != size:
            raise Unavailable("a large message can no longer be pulled from its sender")
        return content

    async def _pull_piece(self, subject: str, offset: int, window: asyncio.Semaphore) -> bytes:
        async with window, self._all_pieces:
            message = await self._connection.request(
                subject, str(offset).encode(), timeout=PULL_SECONDS
            )
            return message.data

    async def _serve(self, message: Msg) -> None:
        """Answer with the piece at the requested offset. The answer is empty when the body is no longer offered."""
        if not is_inbox(message.reply):
            return
        content = self._offered.get(message.subject, b"")
        offset = int(message.data) if message.data.isdigit() else len(content)
        piece = content[offset : offset + PIECE_BYTES]
        await message.respond(piece)
        self._progress.set()
        if message.subject in self._unread:
            self._unread[message.subject] -= len(piece)
            if self._unread[message.subject] <= 0:
                self._remove(message.subject)

    def _add(self, content: bytes) -> str:
        if self._offered_bytes + len(content) > MAX_OFFERED_BYTES:
            raise Overloaded("too many large messages are in flight", limit=MAX_OFFERED_BYTES)
        subject = blob_subject(self._service, self._replica_id, secrets.token_hex(16))
        self._offered[subject] = content
        self._offered_bytes += len(content)
        return f"{subject} {len(content)}"

    def _remove(self, reference: str) -> None:
        subject = reference.partition(" ")[0]
        self._unread.pop(subject, None)
        self._progress.set()
        content = self._offered.pop(subject, b"")
        self._offered_bytes -= len(content)
