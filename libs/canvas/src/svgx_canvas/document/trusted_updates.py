"""Merge updates that were checked before. Only the result is checked, which takes a fraction of the time.

The journal of a busy canvas mostly has overwritten values. A check takes several microseconds for each struct and each
deletion, and the result has far fewer of them than the updates.
"""

from collections.abc import Sequence
from typing import Any

from pycrdt import Doc, get_update, merge_updates

from svgx_canvas.document.faults import PYCRDT_FAULTS, Fault
from svgx_canvas.document.known_deletions import KnownDeletions
from svgx_yjs.delete_set import read_delete_set
from svgx_yjs.lib0 import Decoder
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Split
from svgx_yjs.splitting import split

MAX_BYTES = 1024 * 1024
"""Largest size of each update and of the result, in bytes.

With a larger result, the check takes most of the time, so that merging without checks saves little.
"""

MAX_VECTORS_BYTES = 64 * 1024 * 1024
"""Largest size of all state vectors together, in bytes. pycrdt makes and reads a state vector after each update."""

_NO_STRUCTS = b"\0"
"""The first byte of an update without structs."""


def merge_trusted(updates: Sequence[bytes]) -> tuple[bytes, Split] | None:
    """Return one update with the content of updates that were checked before, and its split for an empty document.

    Return None if the updates have to be checked: pycrdt fails on them, a part of them is pending, the result does not
    pass its check, or a limit of this module is exceeded. An update that was never checked may end the process, for
    example by an overflow of the stack.
    """
    if any(len(update) > MAX_BYTES for update in updates):
        return None
    try:
        with PYCRDT_FAULTS:
            return _merge(updates)
    except Fault:
        return None


def _merge(updates: Sequence[bytes]) -> tuple[bytes, Split] | None:
    document: Doc[Any] = Doc()
    vectors_bytes = 0
    deletions = []
    with document.transaction():
        for update in updates:
            document.apply_update(update)
            vector = document.get_state()
            # pycrdt omits the structs that the document has. Other structs are pending.
            rest = get_update(update, vector)
            vectors_bytes += len(vector)
            if not rest.startswith(_NO_STRUCTS) or vectors_bytes > MAX_VECTORS_BYTES:
                return None
            deletions.append(rest)
    merged = document.get_update()
    if len(merged) > MAX_BYTES:
        return None
    parts = split(merged, {}, Nesting())
    if parts.ready is not merged:  # a part of the result does not pass the check
        return None
    integrated_deletions = KnownDeletions()
    integrated_deletions.replace(parts.deletions.items())
    decoder = Decoder(merge_updates(*deletions))
    decoder.position = len(_NO_STRUCTS)
    return None if integrated_deletions.unknown(dict(read_delete_set(decoder))) else (merged, parts)
