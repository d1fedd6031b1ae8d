"""The binary messages of the edit path, in lib0's encoding. Nothing here looks inside a Yjs update."""

from dataclasses import dataclass

from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Decoder, Encoder


@dataclass(frozen=True, slots=True)
class Edit:
    """One client's document message: `update` is a Yjs v1 update, `author` the user's id."""

    author: str
    update: bytes


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One merged update of a canvas. `sequence` counts from 1 within the `epoch`; a gap means one was missed."""

    epoch: str
    sequence: int
    update: bytes


@dataclass(frozen=True, slots=True)
class SyncReply:
    """The holder's answer to a state vector: all that it lacks, as of broadcast `sequence` of `epoch`.

    `state_vector` is the holder's own; `awareness` an awareness update with all known states.
    """

    epoch: str
    sequence: int
    state_vector: bytes
    update: bytes
    awareness: bytes


@dataclass(frozen=True, slots=True)
class Presence:
    """A merged awareness update, broadcast by the holder of `epoch`."""

    epoch: str
    update: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """What a holder asks state to commit: one canvas's merged updates. (`writer`, `sequence`) makes it idempotent."""

    canvas_id: str
    writer: str
    sequence: int
    authors: tuple[str, ...]
    update: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """State's answer to one entry: the canvas's revision after it, or 0 where there is no such canvas."""

    canvas_id: str
    revision: int


@dataclass(frozen=True, slots=True)
class Content:
    """Committed updates of a canvas in order (a snapshot may come first), up to and including `revision`."""

    revision: int
    updates: tuple[bytes, ...]


def encode_edits(edits: list[Edit]) -> bytes:
    """A batch of edits of one canvas."""
    encoder = Encoder().uint(len(edits))
    for edit in edits:
        encoder.text(edit.author).buffer(edit.update)
    return encoder.finish()


def decode_edits(data: bytes) -> list[Edit]:
    """Inverse of `encode_edits`; raises `Malformed`."""
    decoder = Decoder(data)
    return [Edit(decoder.text(), decoder.buffer()) for _ in range(decoder.uint())]


def encode_broadcast(message: Broadcast) -> bytes:
    """The payload of a canvas's `update` channel."""
    return Encoder().text(message.epoch).uint(message.sequence).raw(message.update).finish()


def decode_broadcast(data: bytes) -> Broadcast:
    """Inverse of `encode_broadcast`; raises `Malformed`."""
    decoder = Decoder(data)
    return Broadcast(decoder.text(), decoder.uint(), decoder.rest())


def encode_presence(message: Presence) -> bytes:
    """The payload of a canvas's `presence` channel."""
    return Encoder().text(message.epoch).raw(message.update).finish()


def decode_presence(data: bytes) -> Presence:
    """Inverse of `encode_presence`; raises `Malformed`."""
    decoder = Decoder(data)
    return Presence(decoder.text(), decoder.rest())


def encode_sync_reply(reply: SyncReply) -> bytes:
    """The payload of an answer on a canvas's `sync` channel."""
    encoder = Encoder().text(reply.epoch).uint(reply.sequence)
    return encoder.buffer(reply.state_vector).buffer(reply.awareness).raw(reply.update).finish()


def decode_sync_reply(data: bytes) -> SyncReply:
    """Inverse of `encode_sync_reply`; raises `Malformed`."""
    decoder = Decoder(data)
    epoch, sequence = decoder.text(), decoder.uint()
    state_vector, awareness = decoder.buffer(), decoder.buffer()
    return SyncReply(epoch, sequence, state_vector, decoder.rest(), awareness)


def encode_entries(entries: list[Entry]) -> bytes:
    """The payload of `svgx.state.journal.append`."""
    encoder = Encoder().uint(len(entries))
    for entry in entries:
        encoder.text(entry.canvas_id).text(entry.writer).uint(entry.sequence)
        encoder.uint(len(entry.authors))
        for author in entry.authors:
            encoder.text(author)
        encoder.buffer(entry.update)
    return encoder.finish()


def decode_entries(data: bytes) -> list[Entry]:
    """Inverse of `encode_entries`; raises `Malformed`."""
    decoder = Decoder(data)
    return [
        Entry(
            canvas_id=decoder.text(),
            writer=decoder.text(),
            sequence=decoder.uint(),
            authors=tuple(decoder.text() for _ in range(decoder.uint())),
            update=decoder.buffer(),
        )
        for _ in range(decoder.uint())
    ]


def encode_committed(results: list[Committed]) -> bytes:
    """The answer to `svgx.state.journal.append`, in the order of the entries."""
    encoder = Encoder().uint(len(results))
    for result in results:
        encoder.text(result.canvas_id).uint(result.revision)
    return encoder.finish()


def decode_committed(data: bytes) -> list[Committed]:
    """Inverse of `encode_committed`; raises `Malformed`."""
    decoder = Decoder(data)
    return [Committed(decoder.text(), decoder.uint()) for _ in range(decoder.uint())]


def encode_content(content: Content) -> bytes:
    """The answer to `svgx.state.journal.load`."""
    encoder = Encoder().uint(content.revision).uint(len(content.updates))
    for update in content.updates:
        encoder.buffer(update)
    return encoder.finish()


def decode_content(data: bytes) -> Content:
    """Inverse of `encode_content`; raises `Malformed`."""
    decoder = Decoder(data)
    revision = decoder.uint()
    return Content(revision, tuple(decoder.buffer() for _ in range(decoder.uint())))


@dataclass(frozen=True, slots=True)
class Saved:
    """The holder's answer to a committed batch of edits. `rejected` are the indexes of malformed edits."""

    revision: int
    rejected: tuple[int, ...]


def encode_saved(saved: Saved) -> bytes:
    """The payload of an answer on a canvas's `edit` channel."""
    encoder = Encoder().uint(saved.revision).uint(len(saved.rejected))
    for index in saved.rejected:
        encoder.uint(index)
    return encoder.finish()


def decode_saved(data: bytes) -> Saved:
    """Inverse of `encode_saved`; raises `Malformed`."""
    decoder = Decoder(data)
    revision = decoder.uint()
    return Saved(revision, tuple(decoder.uint() for _ in range(decoder.uint())))


def encode_sync_request(state_vector: bytes | None) -> bytes:
    """What a peer has; None asks for the holder's state vector only."""
    return (
        Encoder().uint(0).finish()
        if state_vector is None
        else Encoder().uint(1).raw(state_vector).finish()
    )


def decode_sync_request(data: bytes) -> bytes | None:
    """Inverse of `encode_sync_request`; raises `Malformed`."""
    decoder = Decoder(data)
    return decoder.rest() if decoder.uint() else None


def encode_authored_state(author: str, state: State) -> bytes:
    """The payload of a canvas's `awareness` channel: a state, and the id of the user whose client it is."""
    return Encoder().text(author).uint(state.client).uint(state.clock).text(state.json).finish()


def decode_authored_state(data: bytes) -> tuple[str, State]:
    """Inverse of `encode_said`. Raises `Malformed`; the JSON is as the gateway checked it."""
    decoder = Decoder(data)
    return decoder.text(), State(decoder.uint(), decoder.uint(), decoder.text())
