"""Awareness updates of y-protocols (awareness.js): a count, then client id, clock and a JSON state for each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from svgx_yjs.lib0 import Decoder, Encoder, Malformed

MAX_STATE = 64 * 1024
"""Bytes of one client's JSON state."""

MAX_CLOCK = 2**32 - 1
"""The largest clock. Clocks go up by one with each change: sixty a second for two years."""


@dataclass(frozen=True, slots=True)
class State:
    """One client's state; `json` is `null` when the client has left."""

    client: int
    clock: int
    json: str

    @property
    def present(self) -> bool:
        """Whether the client is there."""
        return self.json != "null"

    @property
    def size(self) -> int:
        """Bytes of its JSON."""
        return len(self.json.encode())

    def supersedes(self, known: "State") -> bool:
        """y-protocols' rule: a later clock wins, and at the same clock leaving wins."""
        return self.clock > known.clock or (
            self.clock == known.clock and not self.present and known.present
        )

    def left(self) -> "State":
        """The state that ends this one."""
        return State(self.client, self.clock, "null")


@dataclass(frozen=True, slots=True)
class Entry:
    """A state as it came: nothing has looked at its JSON yet."""

    client: int
    clock: int
    json: bytes

    def read(self) -> State:
        """The state. Raises `Malformed` for one over `MAX_STATE`, past `MAX_CLOCK` or that is not JSON.

        Browsers give a state to `JSON.parse` as it came: one bad state would break everybody who receives it.
        """
        if len(self.json) > MAX_STATE:
            raise Malformed(f"an awareness state is larger than {MAX_STATE} bytes")
        if self.clock > MAX_CLOCK:
            raise Malformed(f"an awareness clock is over {MAX_CLOCK}")
        try:
            text = self.json.decode()
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Malformed("an awareness state is not JSON") from error
        # Blanks around `null` are JSON too, and mean leaving as well.
        return State(self.client, self.clock, "null" if value is None else text)


def encode(states: list[State]) -> bytes:
    """An awareness update."""
    encoder = Encoder().uint(len(states))
    for state in states:
        encoder.uint(state.client).uint(state.clock).text(state.json)
    return encoder.finish()


def count(update: bytes) -> int:
    """How many states an awareness update says it has. Raises `Malformed`."""
    return Decoder(update).uint()


def entries(update: bytes) -> Iterator[Entry]:
    """The states of an awareness update, one after the other. Raises `Malformed` where it ends too soon."""
    decoder = Decoder(update)
    for _ in range(decoder.uint()):
        yield Entry(decoder.uint(), decoder.uint(), decoder.buffer())


def decode(update: bytes) -> list[State]:
    """Inverse of `encode`. Raises `Malformed`, also as `Entry.read` does."""
    return [entry.read() for entry in entries(update)]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
