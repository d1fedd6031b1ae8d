"""Check and split the most common edits, with less work than `splitting`, which handles all updates.

A short edit has one new struct of one client, and deletes only structs that the document has. Setting an attribute,
adding an element and typing one character are short edits.
"""

from collections.abc import Mapping

from svgx_yjs.delete_set import Ranges, read_delete_set
from svgx_yjs.lib0 import Decoder
from svgx_yjs.nesting import Nesting, Place, PlacedRange
from svgx_yjs.parts import Run, Split
from svgx_yjs.structure import GC, KIND, ORIGIN, RIGHT_ORIGIN, SKIP, Id, read_struct

MAX_DEPTH = 500
"""The deepest level of nested types. A deeper struct is never integrated.

pycrdt and browsers delete the outermost type by recursion, and the depth of a recursion is limited.
"""

_DELETED, _TYPE = 1, 7
"""Kinds of content, from Yjs' `contentRefs`."""

CAN_CONTAIN = (GC, _DELETED, _TYPE)
"""The kinds of structs that can have other structs inside."""

_ONE_STRUCT_HEAD = b"\x01\x01"
"""The first bytes of an update with one client, which has one struct."""


def split_short(update: bytes, known: Mapping[int, int], nesting: Nesting) -> Split | None:
    """Return the split of a short edit without a pending part, or None for any other update.

    The arguments, the result and the errors are those of `splitting.split`.
    """
    if not update.startswith(_ONE_STRUCT_HEAD):
        return None
    decoder = Decoder(update)
    decoder.position = len(_ONE_STRUCT_HEAD)
    client, clock = decoder.uint(), decoder.uint()
    if known.get(client, 0) != clock:
        return None
    start = decoder.position
    length, info, dependencies, list_id, uncuttable = read_struct(decoder, client, clock)
    end, next_clock = decoder.position, clock + length
    if (
        info in (GC, SKIP)
        or uncuttable
        or any(at >= known.get(writer, 0) for writer, at in dependencies)
    ):
        return None
    place = _place(info, dependencies, list_id, nesting)
    if (
        place is None
        or (deletions := _deletions(decoder, known, nesting, client, next_clock)) is None
        or not decoder.done
    ):
        return None
    placed = PlacedRange(client, clock, next_clock, place)
    run = Run(client, clock, next_clock, 1, update[start:end])
    return Split(update, None, {client: next_clock}, placed, runs=(run,), deletions=deletions)


def _place(info: int, dependencies: tuple[Id, ...], list_id: int, nesting: Nesting) -> Place | None:
    """Return the place of an item. Return None if no place is possible, or if only `splitting` can find the place.

    `list_id` is 0 if the item names no parent. The item is then in the list of its neighbours, which are the
    `dependencies`.
    """
    can_contain = info & KIND in CAN_CONTAIN
    if not dependencies:
        return Place(list_id, 1, can_contain)
    places = [place for each in dependencies if (place := nesting.get(*each)) is not None]
    if len(places) < len(dependencies):
        return None
    depth = max(place.depth for place in places)
    if list_id:
        depth += 1
        is_possible = places[0].can_contain
    else:
        list_id = places[0].list_id
        is_possible = (
            list_id != 0
            and places[-1].list_id == list_id
            and not (info & ORIGIN and not _may_cut_after(nesting, dependencies[0]))
            and not (info & RIGHT_ORIGIN and not nesting.may_cut(*dependencies[-1]))
        )
    return Place(list_id, depth, can_contain) if is_possible and depth <= MAX_DEPTH else None


def _may_cut_after(nesting: Nesting, struct: Id) -> bool:
    return nesting.may_cut(struct[0], struct[1] + 1)


def _deletions(
    decoder: Decoder, known: Mapping[int, int], nesting: Nesting, client: int, next_clock: int
) -> Ranges | None:
    """Return the deletions of an edit.

    Return None if a deletion is out of order, deletes a missing struct, or begins or ends inside an item that must not
    be cut.
    """
    deletions: Ranges = {}
    for deleted_client, ranges in read_delete_set(decoder):
        available = next_clock if deleted_client == client else known.get(deleted_client, 0)
        last = 0
        for clock, length in ranges:
            end = clock + length
            if clock < last or end > available:
                return None
            if not nesting.may_cut(deleted_client, clock) or not nesting.may_cut(
                deleted_client, end
            ):
                return None
            last = clock
        if ranges:
            ranges.sort()
            deletions[deleted_client] = ranges
    return deletions
