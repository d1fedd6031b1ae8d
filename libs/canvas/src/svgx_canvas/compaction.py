"""Many updates to one that holds the same, without what was overwritten."""

from collections.abc import Sequence

from pycrdt import get_update, merge_updates

from svgx_canvas.document import load
from svgx_canvas.limits import SvgRefused


def compact(snapshot: bytes | None, updates: Sequence[bytes]) -> bytes:
    """One update (Yjs v1) with everything of a snapshot and the updates after it.

    Content that is deleted is reduced to the fact. What cannot be applied yet, because an update it depends on is
    missing, stays: the document alone would lose deletions of what it has never seen. Raises `SvgRefused`.
    """
    everything = [*([snapshot] if snapshot else []), *updates]
    if not everything:
        return b"\x00\x00"
    try:
        # Merged before they are applied: pycrdt 0.14 loses edits when updates that have to wait arrive one by one.
        merged = merge_updates(*everything) if len(everything) > 1 else everything[0]
        applied, known = _applied(merged)
        waiting = get_update(merged, known)
        # Both without structs, so only deletions are compared. Most often nothing waits, and a second merge of a large
        # document would cost as much memory as the document.
        if waiting == get_update(applied, known):
            return applied
        return merge_updates(applied, waiting)
    except ValueError:
        raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)") from None


def _applied(update: bytes) -> tuple[bytes, bytes]:
    """What a document makes of an update, and its state vector; the document itself is freed."""
    doc = load(update)
    return doc.get_update(), doc.get_state()
