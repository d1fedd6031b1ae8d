"""Compaction: one update in place of many, without overwritten and deleted content."""

from collections.abc import Sequence
from typing import NamedTuple

from svgx_canvas.document.element_tree import ReportLeftOut
from svgx_canvas.document.faults import Fault
from svgx_canvas.document.outline import make_outline
from svgx_canvas.document.shared_document import SharedDocument
from svgx_canvas.document.trusted_updates import merge_trusted
from svgx_canvas.limits import SvgRefused
from svgx_yjs.joining import with_waiting
from svgx_yjs.parts import Split
from svgx_yjs.structure import EMPTY_STATE_VECTOR

OUTLINED_BYTES = 64 * 1024
"""Minimum size of a snapshot with an outline, in bytes. A smaller snapshot is checked in milliseconds."""

OUTLINED_STRUCTS = 1_200_000
"""A snapshot gets an outline only if its merged updates have at most this number of structs.

The structs are counted before pycrdt unites or removes any. Making an outline takes about 10 s for a million structs,
and a compaction may take 30 s. The limit does not apply to trusted updates, because `trusted_updates.MAX_BYTES` bounds
them.
"""


class Snapshot(NamedTuple):
    """One update (Yjs v1) in place of many, and its outline."""

    update: bytes
    outline: bytes
    """The encoded outline (`svgx_canvas.document.outline`), or empty."""


def compact(
    snapshot: Snapshot | None,
    updates: Sequence[bytes],
    *,
    outlined: bool = True,
    trusted: bool = False,
) -> Snapshot:
    """Return a snapshot with the content of an earlier one and of the updates after it.

    Deleted content is removed; only the ids of its structs are kept. Pending updates, which depend on a missing update,
    are kept. Of pending structs that contradict each other, one is kept. Without `outlined`, the snapshot gets no
    outline. Raises `SvgRefused` if an update cannot be integrated.

    With `trusted`, the caller promises that all updates were checked before. They are checked again only if
    `merge_trusted` returns None. A trusted update that was never checked may end the process.
    """
    everything = updates if snapshot is None else [snapshot.update, *updates]
    if trusted and (merged := merge_trusted(everything)) is not None:
        update, parts = merged
        return Snapshot(update, _outline(update, parts) if outlined else b"")
    document = _load(everything, b"" if snapshot is None else snapshot.outline)
    if document.left_out:
        raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)")
    update = document.missing(EMPTY_STATE_VECTOR)
    pending = document.pending
    if pending:
        return Snapshot(with_waiting(update, pending), b"")
    fits = outlined and document.structs <= OUTLINED_STRUCTS
    return Snapshot(update, _outline(update) if fits else b"")


def state(
    updates: Sequence[bytes],
    outline: bytes = b"",
    report: ReportLeftOut = lambda *_: None,
) -> bytes:
    """Return one update with everything in `updates` that can be integrated.

    `outline` is the outline of the first update, or empty. Updates that cannot be integrated are left out: `report` is
    called once for each unreadable update, and once for each piece of a pending update, with the reason. Raises
    `SvgRefused` if pycrdt fails on too many updates.
    """
    document = _load(updates, outline)
    for _ in range(document.left_out):
        report("update", "unreadable")
    for _ in document.pending:
        report("update", "waits for a missing update")
    return document.missing(EMPTY_STATE_VECTOR)


def _outline(update: bytes, parts: Split | None = None) -> bytes:
    """Return the outline of a snapshot's update, or empty. `parts` is the `Split` of the update, if known."""
    return (make_outline(update, parts) if len(update) >= OUTLINED_BYTES else None) or b""


def _load(updates: Sequence[bytes], outline: bytes = b"") -> SharedDocument:
    try:
        return SharedDocument.load(updates, outline=outline, max_pending_bytes=None)
    except Fault:
        raise SvgRefused("malformed", "state", detail="the updates cannot be integrated") from None
