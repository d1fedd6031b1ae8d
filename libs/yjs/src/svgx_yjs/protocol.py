"""The messages of y-protocols (sync.js, awareness.js), as npm `y-websocket` frames them. No I/O.

A frame starts with its message type: 0 sync, 1 awareness, 2 auth, 3 query awareness. A sync message has a type of its
own: 0 sync step 1 (the sender's state vector), 1 sync step 2 (the update that the other peer lacks), 2 update.
"""

from svgx_yjs.lib0 import Decoder, Encoder, Malformed, encode_uint
from svgx_yjs.record import record

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
STEP_1, STEP_2, UPDATE = 0, 1, 2

SAVED = 100
"""The server's message to a client that connected with `saved=1`: the number of its document messages that are saved.

The type is an addition to y-protocols.
"""

TOKEN = 101
"""A client's message with a fresh access token, and the server's message to a client that connected with `renew=1`.

The server's message has the seconds until the token expires. The server sends this message when the client should send
a fresh token. The type is an addition to y-protocols.
"""

LIMITS = 102
"""The server's first message to a client that connected with `limits=1`: the size limit of one message in bytes.

The type is an addition to y-protocols.
"""

QUOTA = 103
"""The server's message to a client that connected with `quota=1`: the client's most used quota as JSON, or `{}`.

The server sends this message when the status of that quota changes. The type is an addition to y-protocols.
"""


@record
class SyncStep1:
    """A request for the update that the sender lacks (sync step 1)."""

    state_vector: bytes


@record
class DocumentMessage:
    """A change of the document: a sync step 2 or an update."""

    update: bytes
    whole: bool
    """True for a sync step 2: the update has everything that the sender has and the receiver lacks."""


@record
class AwarenessMessage:
    """An awareness update, not decoded, because most awareness messages repeat known states."""

    update: bytes


@record
class QueryAwareness:
    """A request for the awareness states of all clients."""


@record
class TokenMessage:
    """A fresh access token for the connection."""

    token: str


@record
class IgnoredMessage:
    """A message of type `AUTH`. It has no effect, because only servers send this type (y-protocols, auth.js)."""


Message = (
    SyncStep1 | DocumentMessage | AwarenessMessage | QueryAwareness | TokenMessage | IgnoredMessage
)


_STEP_2_HEAD, _UPDATE_HEAD = bytes((SYNC, STEP_2)), bytes((SYNC, UPDATE))


def decode(frame: bytes) -> Message:
    """Decode one frame. Raises `Malformed`."""
    decoder = Decoder(frame)
    kind = decoder.uint()
    if kind == SYNC:
        return _decode_sync(decoder)
    if kind == AWARENESS:
        return AwarenessMessage(decoder.buffer())
    if kind == QUERY_AWARENESS:
        return QueryAwareness()
    if kind == AUTH:
        return IgnoredMessage()
    if kind == TOKEN:
        return TokenMessage(decoder.text())
    raise Malformed(f"unknown message type {kind}")


def _decode_sync(decoder: Decoder) -> Message:
    kind = decoder.uint()
    if kind == STEP_1:
        return SyncStep1(decoder.buffer())
    if kind in (STEP_2, UPDATE):
        return DocumentMessage(decoder.buffer(), whole=kind == STEP_2)
    raise Malformed(f"unknown sync message type {kind}")


def encode_sync_step_1(state_vector: bytes) -> bytes:
    """Encode a sync step 1: ask the client for the update that the server lacks."""
    return Encoder().uint(SYNC).uint(STEP_1).buffer(state_vector).finish()


def encode_sync_step_2(update: bytes) -> bytes:
    """Encode a sync step 2: send the client the update that it lacks."""
    return _STEP_2_HEAD + encode_uint(len(update)) + update  # copies a large update only once


def encode_update(update: bytes) -> bytes:
    """Encode a change of the document."""
    return _UPDATE_HEAD + encode_uint(len(update)) + update


def encode_awareness(update: bytes) -> bytes:
    """Encode an awareness update."""
    return Encoder().uint(AWARENESS).buffer(update).finish()


def encode_query_awareness() -> bytes:
    """Encode a request for all awareness states that the client knows."""
    return bytes((QUERY_AWARENESS,))


def encode_saved(count: int) -> bytes:
    """Encode the number of the connection's document messages that are saved."""
    return Encoder().uint(SAVED).uint(count).finish()


def encode_token_lifetime(seconds: int) -> bytes:
    """Encode the seconds until the connection's token expires."""
    return Encoder().uint(TOKEN).uint(seconds).finish()


def encode_quota(use: str) -> bytes:
    """Encode the client's most used quota, as JSON."""
    return Encoder().uint(QUOTA).text(use).finish()


def encode_limits(max_bytes: int) -> bytes:
    """Encode the size limit of one message in bytes."""
    return Encoder().uint(LIMITS).uint(max_bytes).finish()
