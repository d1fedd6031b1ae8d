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
        merged = merge_updates(*everything)
        doc = load(merged)
        pending = get_update(merged, doc.get_state())
        return merge_updates(doc.get_update(), pending)
    except ValueError:
        raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)") from None
