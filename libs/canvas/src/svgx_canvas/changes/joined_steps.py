"""The step that undoes two edits of one author together, such as two moments of a drag."""

import zlib
from collections.abc import Mapping
from typing import TypeVar

from svgx_canvas.changes.undo_step import ElementStep, Values, decode_step, encode_step
from svgx_canvas.tree import ROOT

MAX_JOINED_BYTES = 256 * 1024
"""Largest size of each of two steps that are joined, uncompressed, in bytes. Two of this size take up to 0.1 s."""

Value = TypeVar("Value")


def join_steps(earlier: bytes, later: bytes) -> bytes:
    """Return the step that undoes both edits. It is empty if they have to be undone one after the other.

    `earlier` is the step of the first edit, and `later` the step of the second. If another author has changed a value
    between both edits, the joined step gives back the other author's value. Some edits cannot be joined: large ones,
    and edits that create a deleted element again, replace an element, or give siblings new indexes. Nor can deletions
    be joined if their undo might find no parent for an element.
    """
    if _is_large(earlier) or _is_large(later):
        return b""
    joined = {each.id: each for each in decode_step(earlier)}
    created_and_deleted: set[str] = set()
    for second in decode_step(later):
        first = joined.get(second.id)
        if second.renumbered or (first is not None and not _is_joinable(first, second)):
            return b""
        if first is None:
            joined[second.id] = second
        elif first.before is None and second.after is None:
            del joined[second.id]
            created_and_deleted.add(second.id)
        else:
            joined[second.id] = _join(first, second)
    if any(_earlier_parent(each.before) in created_and_deleted for each in joined.values()):
        return b""
    return encode_step([*joined.values()])


def _is_large(step: bytes) -> bool:
    """Return whether a step has more than `MAX_JOINED_BYTES`. The rest of a larger step is not decompressed."""
    decompressor = zlib.decompressobj()
    decompressor.decompress(step, MAX_JOINED_BYTES)
    return not decompressor.eof


def _is_joinable(first: ElementStep, second: ElementStep) -> bool:
    """Return whether one step can undo both changes of an element.

    Both keep its tag, and there is no creation between them. If the second change deletes the element, its undo finds
    the parent: the root, or the parent of the deleted element. Another earlier parent may not exist any more.
    """
    if first.renumbered or first.after is None or second.before is None:
        return False
    parent = _earlier_parent(first.before)
    if second.after is None and parent not in (None, ROOT, _earlier_parent(second.before)):
        return False
    tags = {each.tag for each in (first.before, first.after, second.before, second.after) if each}
    return len(tags) == 1


def _earlier_parent(before: Values | None) -> str | None:
    """Return the id of an element's parent before a change, or None if the change did not move the element."""
    return None if before is None or before.place is None else before.place[0]


def _join(first: ElementStep, second: ElementStep) -> ElementStep:
    assert first.after is not None
    assert second.before is not None
    if first.before is None:
        return first
    second_attrs = second.before.attrs
    if second.after is None:
        # The step of a deletion has only the attributes that the element had.
        second_attrs = {**dict.fromkeys(first.after.attrs), **second_attrs}
    before = Values(
        first.before.tag,
        _earliest(first.before.place, first.after.place, second.before.place),
        _earliest_attrs(first.before.attrs, first.after.attrs, second_attrs),
        _earliest(first.before.text, first.after.text, second.before.text),
    )
    if second.after is None:
        return ElementStep(first.id, before, None)
    after = Values(
        first.after.tag,
        second.after.place or first.after.place,
        {**first.after.attrs, **second.after.attrs},
        first.after.text if second.after.text is None else second.after.text,
    )
    return ElementStep(first.id, before, after)


def _earliest(first: Value | None, between: Value | None, second: Value | None) -> Value | None:
    """Return the value from before the first edit, or from before the second if another edit has changed it between.

    None stands for a value that an edit has not changed.
    """
    return first if second is None or second == between else second


def _earliest_attrs(
    first: Mapping[str, str | None],
    between: Mapping[str, str | None],
    second: Mapping[str, str | None],
) -> dict[str, str | None]:
    changed_between = {
        name: value for name, value in second.items() if name in between and value != between[name]
    }
    return {**second, **first, **changed_between}
