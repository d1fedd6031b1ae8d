"""The binary messages between gateway, holder and state, in lib0's encoding. Yjs updates in them are not parsed."""

from dataclasses import dataclass

from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Decoder, Encoder


@dataclass(frozen=True, slots=True)
class Edit:
    """An update by one author. `update` is a Yjs v1 update, `author` the id of the user."""

    author: str
    update: bytes


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A merged update of a canvas, sent by its holder to the gateways.

    `epoch` identifies the room, one opening of the canvas. `sequence` counts from 1 within the epoch; a gap means that
    a broadcast was missed.
    """

    epoch: str
    sequence: int
    update: bytes


@dataclass(frozen=True, slots=True)
class SyncReply:
    """The holder's answer to a state vector: an update with all missing content, up to broadcast `sequence` of `epoch`.

    `state_vector` is the holder's own. `awareness` is an awareness update with all known states.
    """

    epoch: str
    sequence: int
    state_vector: bytes
    update: bytes
    awareness: bytes


@dataclass(frozen=True, slots=True)
class Presence:
    """A merged awareness update, broadcast by the holder. `epoch` identifies the room that sent it."""

    epoch: str
    update: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A merged update of one canvas, sent by its holder to the state service, which commits it to the journal.

    State commits an entry only once for each (`writer`, `sequence`).
    """

    canvas_id: str
    writer: str
    sequence: int
    authors: tuple[str, ...]
    update: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """State's answer to one entry: the canvas's revision after the entry, or 0 for an unknown canvas."""

    canvas_id: str
    revision: int


@dataclass(frozen=True, slots=True)
class Content:
    """The committed updates of a canvas up to `revision`, in order. The first may be a snapshot."""

    revision: int
    updates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """The holder's answer to a batch of edits after its commit. `rejected` are the indexes of malformed edits."""

    revision: int
    rejected: tuple[int, ...]


def encode_edits(edits: list[Edit]) -> bytes:
    """Write the payload of a canvas's `edit` channel: a batch of edits."""
    encoder = Encoder().uint(len(edits))
    for edit in edits:
        encoder.text(edit.author).buffer(edit.update)
    return encoder.finish()


def decode_edits(data: bytes) -> list[Edit]:
    """Read a message that `encode_edits` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    return [Edit(decoder.text(), decoder.buffer()) for _ in range(decoder.uint())]


def encode_broadcast(message: Broadcast) -> bytes:
    """Write the payload of a canvas's `update` channel."""
    return Encoder().text(message.epoch).uint(message.sequence).raw(message.update).finish()


def decode_broadcast(data: bytes) -> Broadcast:
    """Read a message that `encode_broadcast` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    return Broadcast(decoder.text(), decoder.uint(), decoder.rest())


def encode_presence(message: Presence) -> bytes:
    """Write the payload of a canvas's `presence` channel."""
    return Encoder().text(message.epoch).raw(message.update).finish()


def decode_presence(data: bytes) -> Presence:
    """Read a message that `encode_presence` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    return Presence(decoder.text(), decoder.rest())


def encode_sync_reply(reply: SyncReply) -> bytes:
    """Write the answer on a canvas's `sync` channel."""
    encoder = Encoder().text(reply.epoch).uint(reply.sequence)
    return encoder.buffer(reply.state_vector).buffer(reply.awareness).raw(reply.update).finish()


def decode_sync_reply(data: bytes) -> SyncReply:
    """Read a message that `encode_sync_reply` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    epoch, sequence = decoder.text(), decoder.uint()
    state_vector, awareness = decoder.buffer(), decoder.buffer()
    return SyncReply(epoch, sequence, state_vector, decoder.rest(), awareness)


def encode_entries(entries: list[Entry]) -> bytes:
    """Write the payload of `svgx.state.journal.append`."""
    encoder = Encoder().uint(len(entries))
    for entry in entries:
        encoder.text(entry.canvas_id).text(entry.writer).uint(entry.sequence)
        encoder.uint(len(entry.authors))
        for author in entry.authors:
            encoder.text(author)
        encoder.buffer(entry.update)
    return encoder.finish()


def decode_entries(data: bytes) -> list[Entry]:
    """Read a message that `encode_entries` wrote. Raise `Malformed`."""
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
    """Write the answer to `svgx.state.journal.append`. The results are in the order of the entries."""
    encoder = Encoder().uint(len(results))
    for result in results:
        encoder.text(result.canvas_id).uint(result.revision)
    return encoder.finish()


def decode_committed(data: bytes) -> list[Committed]:
    """Read a message that `encode_committed` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    return [Committed(decoder.text(), decoder.uint()) for _ in range(decoder.uint())]


def encode_content(content: Content) -> bytes:
    """Write the answer to `svgx.state.journal.load`."""
    encoder = Encoder().uint(content.revision).uint(len(content.updates))
    for update in content.updates:
        encoder.buffer(update)
    return encoder.finish()


def decode_content(data: bytes) -> Content:
    """Read a message that `encode_content` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    revision = decoder.uint()
    return Content(revision, tuple(decoder.buffer() for _ in range(decoder.uint())))


def encode_saved(saved: Saved) -> bytes:
    """Write the answer on a canvas's `edit` channel."""
    encoder = Encoder().uint(saved.revision).uint(len(saved.rejected))
    for index in saved.rejected:
        encoder.uint(index)
    return encoder.finish()


def decode_saved(data: bytes) -> Saved:
    """Read a message that `encode_saved` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    revision = decoder.uint()
    return Saved(revision, tuple(decoder.uint() for _ in range(decoder.uint())))


def encode_sync_request(state_vector: bytes | None) -> bytes:
    """Write the payload of a canvas's `sync` channel. None requests only the holder's state vector."""
    return (
        Encoder().uint(0).finish()
        if state_vector is None
        else Encoder().uint(1).raw(state_vector).finish()
    )


def decode_sync_request(data: bytes) -> bytes | None:
    """Read a message that `encode_sync_request` wrote. Raise `Malformed`."""
    decoder = Decoder(data)
    return decoder.rest() if decoder.uint() else None


def encode_authored_state(author: str, state: State) -> bytes:
    """Write the payload of a canvas's `awareness` channel: one state of one client, and the id of its user."""
    return Encoder().text(author).uint(state.client).uint(state.clock).text(state.json).finish()


def decode_authored_state(data: bytes) -> tuple[str, State]:
    """Read the payload of a canvas's `awareness` channel. Raise `Malformed`. The gateway has checked the JSON."""
    decoder = Decoder(data)
    return decoder.text(), State(decoder.uint(), decoder.uint(), decoder.text())
