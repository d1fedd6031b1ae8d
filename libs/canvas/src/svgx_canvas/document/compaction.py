"""Many updates to one that holds the same, without what was overwritten."""

from collections.abc import Sequence

from svgx_canvas.document.shared_document import Fault, SharedDocument, merge
from svgx_canvas.limits import SvgRefused
from svgx_yjs.structure import EMPTY_STATE_VECTOR


def compact(snapshot: bytes | None, updates: Sequence[bytes]) -> bytes:
    """One update (Yjs v1) with everything of a snapshot and the updates after it.

    Content that is deleted is reduced to the fact. What cannot be applied yet, because an update it depends on is
    missing, stays. Raises `SvgRefused` when anything would be left out.
    """
    document = _load([*([snapshot] if snapshot else []), *updates])
    if not document.left_out:
        merged = merge([document.missing(EMPTY_STATE_VECTOR), *document.waiting])
        if merged is not None:
            return merged
    raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)")


def state(updates: Sequence[bytes]) -> bytes:
    """One update with everything of these that can be applied. Raises `SvgRefused`."""
    return _load(updates).missing(EMPTY_STATE_VECTOR)


def _load(updates: Sequence[bytes]) -> SharedDocument:
    try:
        return SharedDocument.load(updates)
    except Fault:
        raise SvgRefused("malformed", "state", detail="cannot be integrated") from None
