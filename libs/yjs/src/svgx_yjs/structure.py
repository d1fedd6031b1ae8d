"""The binary structure of Yjs updates and state vectors (github.com/yjs/yjs, src/utils/encoding.js and src/structs).

An update (v1) starts with the number of clients. For each client it has the number of structs, the client's id, the
first clock and the structs. The update ends with the delete set (see `delete_set`).

A struct is an item, a GC (deleted content) or a skip (a gap in the clocks). A struct starts with a byte of flags and
content kind. An item then has the client and clock of each struct that it depends on, and ends with its content.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from svgx_yjs.contents import ALL_CUTTABLE, skip_content
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.nesting import Uncuttable, list_id

EMPTY_UPDATE = b"\x00\x00"
"""A Yjs v1 update without structs and deletions."""

EMPTY_STATE_VECTOR = b"\x00"
"""The state vector of an empty document."""

MAX_CLOCK = 2**31
"""All clocks and lengths must be below this number, because pycrdt counts in 32 bits.

An update or a state vector that breaks this rule is refused.
"""

GC, SKIP = 0, 10
"""The first byte of a GC and of a skip."""

ORIGIN, RIGHT_ORIGIN, KEY, KIND = 0x80, 0x40, 0x20, 0x1F
"""Bits of an item's first byte.

The first three bits say whether the item names a left neighbour, a right neighbour, and a key of a map. The other bits
are the content kind.
"""

Id = tuple[int, int]
"""A client and a clock, which identify one struct or one clock of a longer struct."""


class Struct(NamedTuple):
    """A struct of an update, without its content."""

    length: int
    """The number of clocks that the struct takes."""
    info: int
    """The first byte: flags and content kind."""
    dependencies: tuple[Id, ...]
    """The structs that must be integrated before this struct: its neighbours, or else its parent."""
    list_id: int
    """The id of the list that contains the struct (see `nesting`); 0 if the struct names no parent."""
    uncuttable: Uncuttable
    """Offsets, in clocks, before which the struct must not be cut."""


def read_struct(decoder: Decoder, client: int, clock: int) -> Struct:
    """Read one struct of `client` that starts at `clock`. Raises `Malformed`."""
    info = decoder.byte()
    dependencies: tuple[Id, ...] = ()
    identifier = 0
    uncuttable = ALL_CUTTABLE
    if info in (GC, SKIP):
        length = decoder.uint()
    else:
        if info & ORIGIN:
            dependencies = ((decoder.uint(), decoder.uint()),)
        if info & RIGHT_ORIGIN:
            dependencies += ((decoder.uint(), decoder.uint()),)
        if not dependencies:
            parent: str | Id
            if decoder.flag():
                parent = decoder.text()
            else:
                parent = decoder.uint(), decoder.uint()
                dependencies = (parent,)
            identifier = list_id(parent, decoder.text() if info & KEY else None)
        for dependency in dependencies:
            if dependency[0] == client and dependency[1] >= clock:
                raise Malformed("a struct depends on a later struct of the same client")
        length, uncuttable = skip_content(decoder, info & KIND)
    check_range(clock, length)
    return Struct(length, info, dependencies, identifier, uncuttable)


def check_range(clock: int, length: int) -> None:
    """Raise `Malformed` for an empty range, and for a range that does not end before `MAX_CLOCK`."""
    if not 0 < length < MAX_CLOCK - clock:
        raise Malformed("a clock or length is out of range")


def read_state_vector(state_vector: bytes, max_clients: int | None = None) -> dict[int, int]:
    """Return the next clock of each client in a state vector. Raises `Malformed`, also beyond `max_clients` clients.

    The encoding is the number of clients, then the id and the next clock of each client.
    """
    decoder = Decoder(state_vector)
    clocks: dict[int, int] = {}
    count = decoder.uint()
    if max_clients is not None and count > max_clients:
        raise Malformed(f"the state vector has more than {max_clients} clients")
    for _ in range(count):
        client = decoder.uint()
        clocks[client] = decoder.uint()
        if clocks[client] >= MAX_CLOCK:
            raise Malformed("a clock is out of range")
    if not decoder.done:
        raise Malformed("the state vector has trailing bytes")
    return clocks


def encode_state_vector(clocks: Mapping[int, int]) -> bytes:
    """Return the state vector with the next clock of each client."""
    encoder = Encoder().uint(len(clocks))
    for client, clock in clocks.items():
        encoder.uint(client).uint(clock)
    return encoder.finish()


def common_state_vector(state_vectors: Iterable[bytes]) -> bytes:
    """Return the state vector of the content that all documents with these state vectors have. Raises `Malformed`."""
    first, *others = map(read_state_vector, state_vectors)
    common = {
        client: min(clock, *(other[client] for other in others)) if others else clock
        for client, clock in first.items()
        if all(client in other for other in others)
    }
    return encode_state_vector(common)
