"""y-protocols on the wire (sync.js, awareness.js), as npm `y-websocket` speaks it. No I/O.

A frame starts with its type: 0 sync, 1 awareness, 3 query awareness. A sync message has a type of its own: 0 step 1
(a state vector), 1 step 2 (what the other lacks), 2 update.
"""

from dataclasses import dataclass

from svgx_yjs.lib0 import Decoder, Encoder, Malformed

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
STEP_1, STEP_2, UPDATE = 0, 1, 2

SAVED = 100
"""Our own type, sent only to those who connected with `saved=1`: how many of their document messages are saved."""

TOKEN = 101
"""Our own type. From a client: a fresh access token. To those who connected with `renew=1`: seconds until theirs ends,
when it is time for a fresh one, and when a fresh one has been taken."""


@dataclass(frozen=True, slots=True)
class SyncStep1:
    """Sync step 1: send what I lack."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class DocumentMessage:
    """Sync step 2 or update: change the document. `whole`: a step 2, with all that its sender has and we lack."""

    update: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class AwarenessMessage:
    """Awareness states, as they came: most are repetitions, so `voice` decodes only what may be news."""

    update: bytes


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """Send everybody's awareness."""


@dataclass(frozen=True, slots=True)
class TokenMessage:
    """A fresh access token for this connection."""

    token: str


@dataclass(frozen=True, slots=True)
class IgnoredMessage:
    """A message type that asks nothing of a server."""


Message = (
    SyncStep1 | DocumentMessage | AwarenessMessage | QueryAwareness | TokenMessage | IgnoredMessage
)


def decode(frame: bytes) -> Message:
    """Read one frame. Raises `Malformed`."""
    decoder = Decoder(frame)
    match decoder.uint():
        case 0:
            return _decode_sync(decoder)
        case 1:
            return AwarenessMessage(decoder.buffer())
        case 3:
            return QueryAwareness()
        case 2:
            return IgnoredMessage()
        case 101:
            return TokenMessage(decoder.text())
        case other:
            raise Malformed(f"unknown message type {other}")


def _decode_sync(decoder: Decoder) -> Message:
    match decoder.uint():
        case 0:
            return SyncStep1(decoder.buffer())
        case 1 | 2 as kind:
            return DocumentMessage(decoder.buffer(), whole=kind == STEP_2)
        case other:
            raise Malformed(f"unknown sync message type {other}")


def encode_sync_step_1(state_vector: bytes) -> bytes:
    """Ask the client for what the server lacks."""
    return Encoder().uint(SYNC).uint(STEP_1).buffer(state_vector).finish()


def encode_sync_step_2(update: bytes) -> bytes:
    """Give the client what it lacks."""
    return Encoder().uint(SYNC).uint(STEP_2).buffer(update).finish()


def encode_update(content: bytes) -> bytes:
    """A change of the document."""
    return Encoder().uint(SYNC).uint(UPDATE).buffer(content).finish()


def encode_awareness(content: bytes) -> bytes:
    """An awareness update."""
    return Encoder().uint(AWARENESS).buffer(content).finish()


def encode_saved(count: int) -> bytes:
    """How many document messages of this connection are saved."""
    return Encoder().uint(SAVED).uint(count).finish()


def encode_token_lifetime(seconds: int) -> bytes:
    """How long the connection's token lasts."""
    return Encoder().uint(TOKEN).uint(seconds).finish()
