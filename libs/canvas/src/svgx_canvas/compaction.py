"""Many updates to one that holds the same, without what was overwritten."""

from collections.abc import Sequence
from typing import Any

from pycrdt import Doc, get_update, merge_updates

from svgx_canvas.limits import SvgRefused
from svgx_canvas.shared_document import EMPTY_STATE_VECTOR, Fault, SharedDocument, faults, merge
from svgx_canvas.structure import read_state_vector
from svgx_common.lib0 import Decoder, Malformed


def compact(snapshot: bytes | None, updates: Sequence[bytes]) -> bytes:
    """One update (Yjs v1) with everything of a snapshot and the updates after it.

    Content that is deleted is reduced to the fact. What cannot be applied yet, because an update it depends on is
    missing, stays. Raises `SvgRefused` when anything would be left out.
    """
    everything = [*([snapshot] if snapshot else []), *updates]
    if (applied := _apply_all(everything)) is not None:
        return applied
    document = _load(everything)
    if not document.left_out:
        merged = merge([document.missing(EMPTY_STATE_VECTOR), *document.waiting])
        if merged is not None:
            return merged
    raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)")


def state(updates: Sequence[bytes]) -> bytes:
    """One update with everything of these that can be applied. Raises `SvgRefused`."""
    if (applied := _apply_all(updates)) is not None:
        return applied
    return _load(updates).missing(EMPTY_STATE_VECTOR)


def _load(updates: Sequence[bytes]) -> SharedDocument:
    try:
        return SharedDocument.load(updates)
    except Fault:
        raise SvgRefused("malformed", "state", detail="cannot be integrated") from None


def _apply_all(updates: Sequence[bytes]) -> bytes | None:
    """The usual case, several times as fast: all of it can be applied. None when something waits or fails."""
    if not updates:
        return None
    try:
        with faults():
            # Merged before it is applied: pycrdt 0.14 loses edits when several that have to wait arrive one by one.
            merged = merge_updates(*updates) if len(updates) > 1 else updates[0]
            applied, known = _apply(merged)
            rest = get_update(merged, known)
        return None if _waits(rest, read_state_vector(known)) else applied
    except (Fault, Malformed):
        return None


def _apply(update: bytes) -> tuple[bytes, bytes]:
    """What a document makes of an update, and its state vector; the document itself is freed."""
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return doc.get_update(), doc.get_state()


def _waits(rest: bytes, clocks: dict[int, int]) -> bool:
    """Whether anything is in `rest`, which is what a document with these clocks lacks of an update."""
    decoder = Decoder(rest)
    if decoder.uint():
        return True
    for _ in range(decoder.uint()):
        there = clocks.get(decoder.uint(), 0)
        for _ in range(decoder.uint()):
            if decoder.uint() + decoder.uint() > there:
                return True
    return False
