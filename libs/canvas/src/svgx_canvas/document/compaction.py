"""Compaction: one update in place of many, without overwritten and deleted content."""

from collections.abc import Sequence

from svgx_canvas.document.element_tree import ReportLeftOut
from svgx_canvas.document.shared_document import Fault, SharedDocument, merge
from svgx_canvas.limits import SvgRefused
from svgx_yjs.structure import EMPTY_STATE_VECTOR


def compact(snapshot: bytes | None, updates: Sequence[bytes]) -> bytes:
    """Return one update (Yjs v1) with the content of a snapshot and of the updates after it.

    Deleted content is removed; only the ids of its structs are kept. Pending updates, which depend on a missing update,
    are kept. Raises `SvgRefused` if any update would be left out.
    """
    document = _load([*([snapshot] if snapshot else []), *updates])
    if not document.left_out:
        merged = merge([document.missing(EMPTY_STATE_VECTOR), *document.pending])
        if merged is not None:
            return merged
    raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)")


def state(updates: Sequence[bytes], report: ReportLeftOut = lambda *_: None) -> bytes:
    """Return one update with everything in `updates` that can be integrated.

    Updates that cannot be integrated are left out, and `report` gets each of them. Raises `SvgRefused` if pycrdt fails
    on too many of them.
    """
    document = _load(updates)
    for _ in range(document.left_out):
        report("update", "unreadable")
    for _ in document.pending:
        report("update", "waits for a missing update")
    return document.missing(EMPTY_STATE_VECTOR)


def _load(updates: Sequence[bytes]) -> SharedDocument:
    try:
        return SharedDocument.load(updates)
    except Fault:
        raise SvgRefused("malformed", "state", detail="the updates cannot be integrated") from None
