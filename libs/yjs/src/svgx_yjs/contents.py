"""The contents of Yjs items: read over, to see that they are what they say (github.com/yjs/yjs, src/structs)."""

import json
import math
from collections.abc import Callable
from itertools import chain

from svgx_yjs.lib0 import Decoder, Malformed

MAX_DEPTH = 500
"""Arrays and objects inside one another in one value. Whoever reads a value recurses, browsers too."""

MAX_JSON_DEPTH = 100
"""The same in JSON. pycrdt's reader takes 127."""

_TYPES = (0, 1, 2, 3, 4, 6)
_XML_ELEMENT = 3
_ARRAY, _OBJECT = 117, 118


STRING = 4


def skip_content(decoder: Decoder, kind: int) -> tuple[int, tuple[int, ...]]:
    """Read over a content of this kind: its length in clocks, and those within it before which it must not be cut.

    Raises `Malformed`.
    """
    if kind == STRING:
        return _measure(decoder.text())
    read = _CONTENTS.get(kind)
    if read is None:
        # Also 2, JSON, which Yjs has not written since version 13 and pycrdt misreads, and 11, moves, which pycrdt
        # knows and Yjs does not: every browser that received one would fail.
        raise Malformed(f"unknown kind of content {kind}")
    return read(decoder), ()


def _measure(text: str) -> tuple[int, tuple[int, ...]]:
    """Length in UTF-16 code units, as Yjs counts, and where the second ones of a pair are."""
    if text.isascii() or max(text) <= "\uffff":
        return len(text), ()
    length = 0
    seconds = []
    for character in text:
        length += 1
        if character > "\uffff":
            seconds.append(length)
            length += 1
    return length, tuple(seconds)


def _deleted(decoder: Decoder) -> int:
    return decoder.uint()


def _binary(decoder: Decoder) -> int:
    decoder.skip(decoder.uint())
    return 1


def _embed(decoder: Decoder) -> int:
    _check_json(decoder.text())
    return 1


def _format(decoder: Decoder) -> int:
    decoder.text()
    _check_json(decoder.text())
    return 1


def _type(decoder: Decoder) -> int:
    kind = decoder.uint()
    if kind not in _TYPES:
        # Also 5, XML hooks, whose name pycrdt does not read.
        raise Malformed(f"unknown type {kind}")
    if kind == _XML_ELEMENT:
        decoder.text()
    return 1


def _anys(decoder: Decoder) -> int:
    count = decoder.uint()
    for _ in range(count):
        _skip_any(decoder)
    return count


def _document(decoder: Decoder) -> int:
    decoder.text()
    _skip_any(decoder)
    return 1


_CONTENTS: dict[int, Callable[[Decoder], int]] = {
    1: _deleted,
    3: _binary,
    5: _embed,
    6: _format,
    7: _type,
    8: _anys,
    9: _document,
}


def _skip_any(decoder: Decoder) -> None:
    """Read over one value of lib0's `any` encoding (lib0, encoding.js: writeAny), without recursion."""
    kind = decoder.byte()
    if kind == 119:  # nearly all of them
        decoder.text()
        return
    # For each array and object around the place: how many entries are to come, and whether each has a key.
    around: list[tuple[int, bool]] = []
    while True:
        if kind in (_ARRAY, _OBJECT):
            around.append((decoder.uint(), kind == _OBJECT))
            if len(around) > MAX_DEPTH:
                raise Malformed(f"values nested deeper than {MAX_DEPTH}")
        else:
            _skip_plain(decoder, kind)
        while around and not around[-1][0]:
            around.pop()
        if not around:
            return
        left, keyed = around[-1]
        around[-1] = (left - 1, keyed)
        if keyed:
            decoder.text()
        kind = decoder.byte()


def _skip_plain(decoder: Decoder, kind: int) -> None:
    match kind:
        case 127 | 126 | 121 | 120:  # undefined, null, false, true
            pass
        case 125:
            decoder.skip_int()
        case 124:  # a float of 32 bits
            decoder.skip(4)
        case 123 | 122:  # a float, an integer of 64 bits
            decoder.skip(8)
        case 119:
            decoder.text()
        case 116:  # bytes
            decoder.skip(decoder.uint())
        case _:
            raise Malformed(f"unknown kind of value {kind}")


def _check_json(text: str) -> None:
    """JSON as every reader takes it: pycrdt's refuses what Python's lets pass."""
    try:
        value = json.loads(
            text,
            # All of an object: keys may repeat.
            object_pairs_hook=lambda pairs: [*chain.from_iterable(pairs)],
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_integer,
        )
        # Half a character, escaped, is in no encoding.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Malformed("a value is not JSON") from None
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [each for each in level if isinstance(each, list)]
        if not containers:
            return
        level = [*chain.from_iterable(containers)]
    raise Malformed(f"JSON nested deeper than {MAX_JSON_DEPTH}")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _integer(number: str) -> float:
    value = _finite(number)
    # pycrdt reads these as integers, and has no room for them.
    if 2.0**63 <= value <= 2.0**64 and 2**63 <= int(number) < 2**64:
        raise ValueError(number)
    return value
