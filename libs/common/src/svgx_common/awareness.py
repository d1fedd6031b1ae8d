"""Awareness updates of y-protocols (awareness.js): a count, then client id, clock and a JSON state for each."""

import json
from dataclasses import dataclass
from typing import NoReturn

from svgx_common.lib0 import Decoder, Encoder, Malformed

MAX_STATE = 64 * 1024
"""Bytes of one client's JSON state."""


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

    def supersedes(self, known: "State") -> bool:
        """y-protocols' rule: a later clock wins, and at the same clock leaving wins."""
        return self.clock > known.clock or (
            self.clock == known.clock and not self.present and known.present
        )


def encode(states: list[State]) -> bytes:
    """An awareness update."""
    encoder = Encoder().uint(len(states))
    for state in states:
        encoder.uint(state.client).uint(state.clock).text(state.json)
    return encoder.finish()


def decode(update: bytes) -> list[State]:
    """The states of an awareness update. Raises `Malformed`, also for a state over `MAX_STATE` or that is not JSON.

    Browsers give a state to `JSON.parse` as it came: one bad state would break everybody who receives it.
    """
    decoder = Decoder(update)
    return [
        State(decoder.uint(), decoder.uint(), _json(decoder.text())) for _ in range(decoder.uint())
    ]


def _json(text: str) -> str:
    if len(text.encode()) > MAX_STATE:
        raise Malformed(f"an awareness state is larger than {MAX_STATE} bytes")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("an awareness state is not JSON") from error
    # Blanks around `null` are JSON too, and mean leaving as well.
    return "null" if value is None else text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
