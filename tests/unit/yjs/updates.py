"""Encode Yjs updates struct by struct, also updates that no correct client sends."""

from collections.abc import Sequence

from svgx_yjs.lib0 import Encoder

Struct = bytes
"""An encoded struct: an item, a GC or a skip."""

GC, DELETED, BINARY, STRING, EMBED, FORMAT, TYPE, ANY, DOC, SKIP = 0, 1, 3, 4, 5, 6, 7, 8, 9, 10
"""The kinds of structs and of their content, as in npm yjs."""

MAP = b"\x01"
"""Content of kind `TYPE`: an empty Y.Map."""

NULL = b"\x01\x7e"
"""Content of kind `ANY`: one null."""


def update(*sections: tuple[int, int, Sequence[Struct]], deleted: bytes = b"\x00") -> bytes:
    """Return an update. A section has a client, its first clock and its structs; `deleted` is the delete set."""
    encoder = Encoder().uint(len(sections))
    for client, clock, structs in sections:
        encoder.uint(len(structs)).uint(client).uint(clock).raw(b"".join(structs))
    return encoder.raw(deleted).finish()


def in_root(kind: int, content: bytes, *, key: str = "k", root: str = "elements") -> Struct:
    """Return an item at a key of a root map."""
    return Encoder().raw(bytes([kind | 0x20])).uint(1).text(root).text(key).raw(content).finish()


def inside(kind: int, content: bytes, parent: tuple[int, int], *, key: str = "k") -> Struct:
    """Return an item at a key of another item."""
    encoder = Encoder().raw(bytes([kind | 0x20])).uint(0).uint(parent[0]).uint(parent[1])
    return encoder.text(key).raw(content).finish()


def after(kind: int, content: bytes, origin: tuple[int, int]) -> Struct:
    """Return an item to the right of `origin`, with the same parent."""
    return Encoder().raw(bytes([kind | 0x80])).uint(origin[0]).uint(origin[1]).raw(content).finish()


def between(kind: int, content: bytes, left: tuple[int, int], right: tuple[int, int]) -> Struct:
    """Return an item between two others."""
    encoder = Encoder().raw(bytes([kind | 0xC0])).uint(left[0]).uint(left[1])
    return encoder.uint(right[0]).uint(right[1]).raw(content).finish()


def gap(kind: int, length: int) -> Struct:
    """Return a GC or a skip, which stands for `length` clocks."""
    return Encoder().uint(kind).uint(length).finish()


def text(value: str) -> bytes:
    """Return an encoded string: a content of kind `STRING`, or a name."""
    return Encoder().text(value).finish()


def deletions(*clients: tuple[int, Sequence[tuple[int, int]]]) -> bytes:
    """Return a delete set with clock and length of each range of each client."""
    encoder = Encoder().uint(len(clients))
    for client, ranges in clients:
        encoder.uint(client).uint(len(ranges))
        for clock, length in ranges:
            encoder.uint(clock).uint(length)
    return encoder.finish()


def nested_values(depth: int) -> bytes:
    """Return an update with one value of `depth` nested arrays."""
    return update((7, 0, [in_root(ANY, b"\x01" + b"\x75\x01" * depth + b"\x7e")]))


def nested_types(depth: int) -> bytes:
    """Return an update with `depth` nested maps."""
    outermost = in_root(TYPE, MAP)
    return update((7, 0, [outermost, *(inside(TYPE, MAP, (7, n)) for n in range(depth - 1))]))
