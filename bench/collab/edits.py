"""Yjs updates, built ahead of a measurement without a Yjs library."""

from collections.abc import Iterator

from svgx_yjs.lib0 import Encoder

ELEMENTS = "elements"
"""The root map that has one entry for each element."""

CREATION_CLOCKS = 4
"""Clocks of the structs that create an element. The first edit has the next clock."""

_SHARED_MAP = 1
_ANY, _TYPE = 8, 7
_KEY, _RIGHT_ORIGIN, _ORIGIN = 0x20, 0x40, 0x80
_INTEGER, _TRUE, _TEXT = 125, 120, 119


class Writer:
    """A Yjs client that creates one element and then sets the element's attribute `x` again and again.

    `text_bytes`: 0 for numbers as values; otherwise each value is a text of about this length that starts with the
    number.
    """

    def __init__(self, client: int, text_bytes: int = 0) -> None:
        self.client = client
        self.name = f"w{client}"
        self._filler = "x" * text_bytes

    def creation(self) -> bytes:
        """Return the update that creates the element, with 0 as the value of `x`."""
        encoder = Encoder().uint(1).uint(CREATION_CLOCKS).uint(self.client).uint(0)
        _write_element(encoder, self.client, 0, self.name, {"x": 0})
        return encoder.uint(0).finish()

    def edit(self, number: int) -> bytes:
        """Return edit `number`, counted from 1: it sets `x` to the number, and deletes the value before."""
        clock = CREATION_CLOCKS + number - 1
        encoder = Encoder().uint(1).uint(1).uint(self.client).uint(clock)
        encoder.raw(bytes((_ORIGIN | _KEY | _ANY,))).uint(self.client).uint(clock - 1)
        value = f"{number} {self._filler}" if self._filler else number
        _write_any(encoder, value)
        encoder.uint(1).uint(self.client).uint(1).uint(clock - 1).uint(1)
        return encoder.finish()


def number_of(value: object) -> int:
    """Return the number of the edit that wrote this value of `x`."""
    return int(str(value).split(" ", 1)[0].split(".", 1)[0])


def elements(
    client: int, count: int, *, per_update: int = 1000, attributes: int = 7
) -> Iterator[bytes]:
    """Yield updates that create many elements. An element takes about 190 bytes."""
    clock = 0
    for first in range(0, count, per_update):
        names = range(first, min(first + per_update, count))
        structs = len(names) * (3 + attributes)
        encoder = Encoder().uint(1).uint(structs).uint(client).uint(clock)
        for name in names:
            values = {f"attribute-{number}": number for number in range(attributes)}
            _write_element(encoder, client, clock, f"{client:x}-{name}", values)
            clock += 3 + attributes
        yield encoder.uint(0).finish()


def past_clients(first: int, count: int, per_update: int = 500) -> Iterator[bytes]:
    """Yield updates in which `count` clients, with ids from `first` upwards, set one key each."""
    for start in range(first, first + count, per_update):
        clients = range(min(start + per_update, first + count) - 1, start - 1, -1)
        encoder = Encoder().uint(len(clients))
        for client in clients:
            encoder.uint(1).uint(client).uint(0)
            encoder.uint(_KEY | _ANY).uint(1).text("visitors").text(f"{client % 50}")
            _write_any(encoder, 1)
        yield encoder.uint(0).finish()


def rivals(first: int, count: int) -> bytes:
    """Return an update with `count` items at the start of one list, each of a client of its own.

    No two items name the same right neighbour. So Yjs compares each item with all others to find their order, and the
    time grows with the square of the count.
    """
    base = first + count
    encoder = Encoder().uint(count + 1).uint(1).uint(base).uint(0)
    encoder.uint(_ANY).uint(1).text("rivals").uint(count)
    encoder.raw(bytes((_TRUE,)) * count)
    for number in range(count - 1, -1, -1):
        encoder.uint(1).uint(first + number).uint(0)
        encoder.uint(_RIGHT_ORIGIN | _ANY).uint(base).uint(number)
        _write_any(encoder, 1)
    return encoder.uint(0).finish()


def _write_element(
    encoder: Encoder, client: int, clock: int, name: str, attributes: dict[str, int]
) -> None:
    encoder.uint(_KEY | _TYPE).uint(1).text(ELEMENTS).text(name).uint(_SHARED_MAP)
    encoder.uint(_KEY | _ANY).uint(0).uint(client).uint(clock).text("tag")
    _write_any(encoder, "rect")
    encoder.uint(_KEY | _TYPE).uint(0).uint(client).uint(clock).text("attrs").uint(_SHARED_MAP)
    for key, value in attributes.items():
        encoder.uint(_KEY | _ANY).uint(0).uint(client).uint(clock + 2).text(key)
        _write_any(encoder, value)


def _write_any(encoder: Encoder, value: int | str) -> None:
    """Append content with one value. An integer must be at least 0."""
    encoder.uint(1)
    if isinstance(value, str):
        encoder.uint(_TEXT).text(value)
        return
    encoder.uint(_INTEGER)
    if value < 0x40:
        encoder.uint(value)
    else:
        # The first byte has six bits of the value. The other two bits are the sign and the mark that more bytes follow.
        encoder.raw(bytes((0x80 | (value & 0x3F),))).uint(value >> 6)
