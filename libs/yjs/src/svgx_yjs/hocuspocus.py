"""The messages of Hocuspocus 4 (npm `@hocuspocus/provider`), which carry several documents on one socket. No I/O.

A message begins with the name of its document, then its type. The types 0, 1 and 3 are those of y-protocols
(`svgx_yjs.protocol`). A ping and its answer are a single byte without a name, because they concern the whole socket.
"""

from dataclasses import dataclass

from svgx_yjs import protocol
from svgx_yjs.lib0 import Decoder, Encoder, Malformed

AUTH, STATELESS, CLOSE, SYNC_STATUS, PING, PONG = 2, 5, 7, 8, 9, 10
"""Message types that y-protocols lacks or uses for another content."""

TOKEN, PERMISSION_DENIED, AUTHENTICATED = 0, 1, 2
"""Types of an auth message: a token or the request for a token, the refusal, and the scope that a token gives."""

READ_WRITE, READ_ONLY = "read-write", "readonly"
"""The scopes."""

MAX_NAME_BYTES = 256
"""Maximum size of a document's name, in bytes. A longer name is malformed."""

SESSION_SEPARATOR = "\0"
"""The character between the document's name and the session's id, in the names of a provider with `sessionAwareness`.

These providers share one socket and one document, and each provider has its own presence.
"""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A token for the document. A client sends it first for each document, and in answer to a request for a token."""

    token: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The client has left the document, and keeps the socket."""


@dataclass(frozen=True, slots=True)
class IgnoredMessage:
    """A message without an effect on this server: a stateless message, or a type that only servers send."""


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """A message that is malformed after the name of its document."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """A request for a `PONG_MESSAGE`."""


Content = protocol.Message | Authenticate | Leave | IgnoredMessage | MalformedMessage
"""A message without the name of its document."""


@dataclass(frozen=True, slots=True)
class NamedMessage:
    """A message with the name of its document."""

    name: str
    message: Content


def decode(frame: bytes) -> NamedMessage | Ping | None:
    """Decode one frame. Return None for an answer to a ping. Raises `Malformed` for an unreadable or too long name."""
    if len(frame) == 1:
        if frame[0] == PING:
            return Ping()
        if frame[0] == PONG:
            return None
    decoder = Decoder(frame)
    name = decoder.text()
    if decoder.position > MAX_NAME_BYTES + 2:
        raise Malformed(f"a document's name is longer than {MAX_NAME_BYTES} bytes")
    try:
        content = _decode_content(frame, decoder)
    except Malformed as error:
        content = MalformedMessage(str(error))
    return NamedMessage(name, content)


def _decode_content(frame: bytes, decoder: Decoder) -> Content:
    """Decode the message that follows the name, at the position of the decoder. Raises `Malformed`."""
    start = decoder.position
    kind = decoder.uint()
    if kind in (protocol.SYNC, protocol.AWARENESS, protocol.QUERY_AWARENESS):
        return protocol.decode(frame[start:])
    if kind == AUTH and decoder.uint() == TOKEN:
        return Authenticate(decoder.text())
    if kind == CLOSE:
        return Leave()
    if kind <= PONG:
        return IgnoredMessage()
    raise Malformed(f"unknown message type {kind}")


def document_of(name: str) -> str:
    """Return the document's name without the id of a session."""
    return name.partition(SESSION_SEPARATOR)[0]


class Writer:
    """The encoder of the messages about one document."""

    def __init__(self, name: str) -> None:
        self.prefix = Encoder().text(name).finish()
        """The encoded name, which every message begins with."""

    def named(self, message: bytes) -> bytes:
        """Encode a message of y-protocols."""
        return self.prefix + message

    def token_request(self) -> bytes:
        """Encode a request for a fresh token."""
        return self._start(AUTH).uint(TOKEN).finish()

    def permission_denied(self, reason: str) -> bytes:
        """Encode a refusal of the document."""
        return self._start(AUTH).uint(PERMISSION_DENIED).text(reason).finish()

    def authenticated(self, *, may_edit: bool) -> bytes:
        """Encode that the token is accepted, with the client's scope."""
        return (
            self._start(AUTH)
            .uint(AUTHENTICATED)
            .text(READ_WRITE if may_edit else READ_ONLY)
            .finish()
        )

    def sync_status(self, *, applied: bool) -> bytes:
        """Encode whether a document message was applied.

        The provider reads a signed integer (npm `lib0`). Signed and unsigned integers encode 0 and 1 as the same bytes.
        """
        return self._start(SYNC_STATUS).uint(int(applied)).finish()

    def stateless(self, payload: str) -> bytes:
        """Encode a stateless message: a text for the application that does not change the document."""
        return self._start(STATELESS).text(payload).finish()

    def close(self, reason: str) -> bytes:
        """Encode that the server has closed the document on this socket."""
        return self._start(CLOSE).text(reason).finish()

    def _start(self, kind: int) -> Encoder:
        return Encoder().raw(self.prefix).uint(kind)


PONG_MESSAGE = bytes((PONG,))
"""The answer to a ping."""
