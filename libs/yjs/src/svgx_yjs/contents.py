"""The contents of Yjs items (github.com/yjs/yjs, src/structs): check them and skip them."""

import json
import math
from collections.abc import Callable
from itertools import chain

from svgx_yjs.lib0 import Decoder, Malformed
from svgx_yjs.nesting import Uncuttable

MAX_DEPTH = 500
"""Maximum depth of arrays and objects in a value. A deeper value is refused, because browsers read it by recursion."""

MAX_JSON_DEPTH = 100
"""Maximum depth of arrays and objects in JSON. Deeper JSON is refused, because pycrdt reads only 127 levels."""

STRING = 4
"""The content kind of a string (ContentString)."""

_SHARED_TYPES = (0, 1, 2, 3, 4, 6)
"""Array, map, text, XML element, XML fragment and XML text (yjs, src/structs/ContentType.js)."""

_XML_ELEMENT = 3
_ARRAY, _OBJECT = 117, 118

ALL_CUTTABLE = Uncuttable()
"""No offsets: content that may be cut everywhere."""


def skip_content(decoder: Decoder, kind: int) -> tuple[int, Uncuttable]:
    """Check the content of an item, and skip it.

    Return the content's length in clocks, and the offsets at which the item must not be cut in two. Such a cut would
    separate the two code units of a character. Raises `Malformed`.
    """
    if kind == STRING:
        return _utf16_length(decoder.text())
    skip = _CONTENTS.get(kind)
    if skip is None:
        # Kind 2, JSON, is refused too, because pycrdt misreads it. Yjs from version 13 on does not write it. Kind
        # 11, a move, is refused because only pycrdt implements it: Yjs in a browser fails on a move.
        raise Malformed(f"unknown kind of content {kind}")
    return skip(decoder), ALL_CUTTABLE


def _utf16_length(text: str) -> tuple[int, Uncuttable]:
    """Return the length in UTF-16 code units, as Yjs counts, and the offsets of low surrogates."""
    if text.isascii() or max(text) <= "\uffff":
        return len(text), ALL_CUTTABLE
    length, next_of_run = 0, -1
    low_surrogates = Uncuttable()
    firsts, lasts = low_surrogates.firsts, low_surrogates.lasts
    for character in text:
        length += 1
        if character > "\uffff":
            # `Uncuttable.add` does the same, but its calls take most of the time of a long text.
            if length == next_of_run:
                lasts[-1] = length
            else:
                firsts.append(length)
                lasts.append(length)
            next_of_run = length + 2
            length += 1
    return length, low_surrogates


def _skip_deleted(decoder: Decoder) -> int:
    return decoder.uint()


def _skip_binary(decoder: Decoder) -> int:
    decoder.skip(decoder.uint())
    return 1


def _skip_embed(decoder: Decoder) -> int:
    _check_json(decoder.text())
    return 1


def _skip_format(decoder: Decoder) -> int:
    decoder.text()
    _check_json(decoder.text())
    return 1


def _skip_type(decoder: Decoder) -> int:
    kind = decoder.uint()
    if kind not in _SHARED_TYPES:
        # Type 5, an XML hook, is refused too, because pycrdt does not read its name.
        raise Malformed(f"unknown type {kind}")
    if kind == _XML_ELEMENT:
        decoder.text()
    return 1


def _skip_any_values(decoder: Decoder) -> int:
    count = decoder.uint()
    for _ in range(count):
        _skip_any(decoder)
    return count


def _skip_document(decoder: Decoder) -> int:
    decoder.text()
    if _skip_any(decoder) != _OBJECT:
        # Yjs writes an object, and fails on `null` (yjs, src/structs/ContentDoc.js).
        raise Malformed("the options of a subdocument are no object")
    return 1


_CONTENTS: dict[int, Callable[[Decoder], int]] = {
    1: _skip_deleted,
    3: _skip_binary,
    5: _skip_embed,
    6: _skip_format,
    7: _skip_type,
    8: _skip_any_values,
    9: _skip_document,
}
"""Functions that skip a content and return its length in clocks, by kind."""


def _skip_any(decoder: Decoder) -> int:
    """Skip one value of lib0's `any` encoding (lib0, encoding.js: writeAny), without recursion. Return its kind."""
    outermost = kind = decoder.byte()
    if kind == 119:  # a string: by far the most frequent kind
        decoder.text()
        return kind
    # For each enclosing array or object: the number of entries that are left, and whether the entries have keys.
    enclosing: list[tuple[int, bool]] = []
    while True:
        if kind in (_ARRAY, _OBJECT):
            enclosing.append((decoder.uint(), kind == _OBJECT))
            if len(enclosing) > MAX_DEPTH:
                raise Malformed(f"values nested deeper than {MAX_DEPTH}")
        else:
            _skip_scalar(decoder, kind)
        while enclosing and not enclosing[-1][0]:
            enclosing.pop()
        if not enclosing:
            return outermost
        entries_left, has_keys = enclosing[-1]
        enclosing[-1] = (entries_left - 1, has_keys)
        if has_keys:
            decoder.text()
        kind = decoder.byte()


def _skip_scalar(decoder: Decoder, kind: int) -> None:
    match kind:
        case 127 | 126 | 121 | 120:  # undefined, null, false, true
            pass
        case 125:
            decoder.skip_int()
        case 124:  # a float of 32 bits
            decoder.skip(4)
        case 123 | 122:  # a float or an integer of 64 bits
            decoder.skip(8)
        case 119:
            decoder.text()
        case 116:  # bytes
            decoder.skip(decoder.uint())
        case _:
            raise Malformed(f"unknown kind of value {kind}")


def _check_json(text: str) -> None:
    """Raise `Malformed` unless every reader accepts the JSON. pycrdt's reader is stricter than Python's."""
    try:
        value = json.loads(
            text,
            # Keep all keys and values, also those of repeated keys.
            object_pairs_hook=lambda pairs: [*chain.from_iterable(pairs)],
            parse_constant=_parse_float,
            parse_float=_parse_float,
            parse_int=_parse_integer,
        )
        # Refuse an escaped lone surrogate, because UTF-8 cannot encode it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Malformed("a value is not JSON") from None
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [item for item in level if isinstance(item, list)]
        if not containers:
            return
        level = [*chain.from_iterable(containers)]
    raise Malformed(f"JSON nested deeper than {MAX_JSON_DEPTH}")


def _parse_float(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _parse_integer(number: str) -> float:
    value = _parse_float(number)
    # pycrdt reads integers from 2**63 to 2**64 - 1 as signed integers of 64 bits, which cannot hold them.
    if 2.0**63 <= value <= 2.0**64 and 2**63 <= int(number) < 2**64:
        raise ValueError(number)
    return value
