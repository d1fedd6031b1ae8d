"""Awareness updates of y-protocols (awareness.js): a count of states, then client id, clock and JSON of each state."""

import json
from collections.abc import Iterator
from typing import NoReturn

from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.record import record

MAX_STATE_BYTES = 64 * 1024
"""Maximum size in bytes of one client's JSON state. A longer state is refused."""

MAX_CLOCK = 2**32 - 1
"""The largest clock. A clock rises by one with each change: 60 changes a second reach this limit after two years."""


@record
class State:
    """The awareness state of one client. `json` is `null` after the client has left."""

    client: int
    clock: int
    json: str

    @property
    def present(self) -> bool:
        """Return whether the client is present, which means that it has not left."""
        return self.json != "null"

    @property
    def size(self) -> int:
        """Return the length of the JSON in bytes."""
        return len(self.json.encode())

    def supersedes(self, known: "State") -> bool:
        """Return whether the state replaces `known`: its clock is later, or the clock is the same and the client left.

        This is the rule of y-protocols (applyAwarenessUpdate).
        """
        return self.clock > known.clock or (
            self.clock == known.clock and not self.present and known.present
        )

    def after_leaving(self) -> "State":
        """Return the state of this client after it has left."""
        return State(self.client, self.clock, "null")


@record
class Entry:
    """A received state with unchecked JSON."""

    client: int
    clock: int
    json: bytes

    @property
    def present(self) -> bool:
        """Return whether the client is present."""
        return self.json != b"null"

    def read(self) -> State:
        """Check the entry and return its state.

        Raises `Malformed` if the state has more than `MAX_STATE_BYTES`, if its clock is above `MAX_CLOCK`, or if the
        state is not JSON. The check is needed because browsers pass each received state to `JSON.parse`. One invalid
        state would break every client that receives it.
        """
        if len(self.json) > MAX_STATE_BYTES:
            raise Malformed(f"an awareness state is larger than {MAX_STATE_BYTES} bytes")
        if self.clock > MAX_CLOCK:
            raise Malformed(f"an awareness clock is above {MAX_CLOCK}")
        try:
            text = self.json.decode()
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise Malformed("an awareness state is not JSON") from error
        # `null` with white space around it is JSON too, and also means that the client has left.
        return State(self.client, self.clock, "null" if value is None else text)


def encode(states: list[State]) -> bytes:
    """Encode an awareness update."""
    encoder = Encoder().uint(len(states))
    for state in states:
        encoder.uint(state.client).uint(state.clock).text(state.json)
    return encoder.finish()


def count(update: bytes) -> int:
    """Return the number of states that an awareness update declares. Raises `Malformed`."""
    return Decoder(update).uint()


def entries(update: bytes) -> Iterator[Entry]:
    """Yield the unchecked states of an awareness update. Raises `Malformed` where the update ends too early."""
    decoder = Decoder(update)
    for _ in range(decoder.uint()):
        yield Entry(decoder.uint(), decoder.uint(), decoder.buffer())


def without(update: bytes, client: int) -> bytes:
    """Return an awareness update without the state of a client.

    Raises `Malformed` for a malformed update. If the bytes of the encoded client id do not occur in the update, the
    update is returned without a check.
    """
    # This search is cheap. Most updates do not contain the bytes, so they need no decoding.
    if Encoder().uint(client).finish() not in update:
        return update
    kept = [entry for entry in entries(update) if entry.client != client]
    encoder = Encoder().uint(len(kept))
    for entry in kept:
        encoder.uint(entry.client).uint(entry.clock).buffer(entry.json)
    return encoder.finish()


def decode(update: bytes) -> list[State]:
    """Decode an awareness update and check each state. Raises `Malformed`."""
    return [entry.read() for entry in entries(update)]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
