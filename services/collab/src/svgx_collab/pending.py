"""Whether a document holds all of an update, or a part of it still waits for another edit.

The Yjs v1 encoding: an update is its structs by client, then its delete set: a count of clients, and for each the
client, a count of ranges, and for each range its clock and length. A state vector is a count, then client and clock.
"""

from typing import Any

from pycrdt import Doc, get_update

from svgx_common.lib0 import Decoder

NO_STRUCTS = 0


def waits(update: bytes, doc: Doc[Any]) -> bool:
    """Whether any struct or deletion of `update`, after it was applied, is not in the document."""
    state = doc.get_state()
    rest = Decoder(get_update(update, state))
    if rest.uint() != NO_STRUCTS:
        return True
    known = _clocks(state)
    for _ in range(rest.uint()):
        client = rest.uint()
        for _ in range(rest.uint()):
            clock, length = rest.uint(), rest.uint()
            if clock + length > known.get(client, 0):
                return True
    return False


def _clocks(state_vector: bytes) -> dict[int, int]:
    decoder = Decoder(state_vector)
    return {decoder.uint(): decoder.uint() for _ in range(decoder.uint())}
