"""Documents that are loaded with the outline of a snapshot. Proves R-STATE-27."""

import random
import zlib
from collections.abc import Mapping

import pytest

from svgx_canvas.document import compaction, shared_document
from svgx_canvas.document.compaction import Snapshot, compact
from svgx_canvas.document.faults import update_digest
from svgx_canvas.document.shared_document import SharedDocument
from svgx_yjs.lib0 import Decoder, Encoder
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Split
from svgx_yjs.splitting import split
from svgx_yjs.structure import EMPTY_STATE_VECTOR
from tests.unit.canvas.histories import content, history, ordered_history


@pytest.fixture(autouse=True)
def outline_of_each_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small snapshots have outlines too."""
    monkeypatch.setattr(compaction, "OUTLINED_BYTES", 0)


@pytest.mark.parametrize("seed", range(20))
def test_outlined_document_takes_edits_as_a_checked_one_does(seed: int) -> None:
    """Both documents find the same new parts in each edit, and are equal at the end."""
    updates = history(seed)
    early, late = updates[:30], updates[30:]
    random.Random(seed).shuffle(late)
    snapshot = compact(None, early)
    assert snapshot.outline
    checked = SharedDocument.load([snapshot.update])
    outlined = SharedDocument.load([snapshot.update], outline=snapshot.outline)
    assert outlined.clocks == checked.clocks
    assert outlined.structs == checked.structs
    for update in [*late, *early]:
        assert outlined.take(update) == checked.take(update)
    assert outlined.flush() == checked.flush()
    assert outlined.missing(EMPTY_STATE_VECTOR) == checked.missing(EMPTY_STATE_VECTOR)


def test_outlined_snapshot_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = compact(None, history(1))
    checked: list[bytes] = []

    def record(update: bytes, known: Mapping[int, int], nesting: Nesting) -> Split:
        checked.append(update)
        return split(update, known, nesting)

    monkeypatch.setattr(shared_document, "split", record)
    later = history(2)
    SharedDocument.load([snapshot.update, *later], outline=snapshot.outline)
    assert snapshot.update not in checked
    assert set(later) <= set(checked)


def test_wrong_outline_is_replaced_by_a_check() -> None:
    """An outline with a valid checksum and a wrong position is not used. The update is checked instead."""
    snapshot = compact(None, history(3))
    decoder = Decoder(snapshot.outline)
    header, update_checksum = decoder.text(), decoder.uint()
    decoder.uint()
    body = Encoder().uint(decoder.uint()).uint(decoder.uint() + 1)
    body.raw(snapshot.outline[decoder.position :])
    checksum = zlib.crc32(body.finish())
    wrong = Encoder().text(header).uint(update_checksum).uint(checksum).raw(body.finish()).finish()
    document = SharedDocument.load([snapshot.update], outline=wrong)
    assert document.missing(EMPTY_STATE_VECTOR) == snapshot.update


def test_faulty_snapshot_is_left_out_in_spite_of_its_outline() -> None:
    snapshot = compact(None, history(4))
    digest = update_digest(snapshot.update)
    document = SharedDocument.load([snapshot.update], outline=snapshot.outline, faulty={digest})
    assert document.left_out == 1


def test_compaction_of_an_outlined_snapshot_has_the_content_of_a_checked_one() -> None:
    updates = history(6)
    half = len(updates) // 2
    first = compact(None, updates[:half])
    assert compact(first, updates[half:]) == compact(Snapshot(first.update, b""), updates[half:])
    assert content(compact(first, updates[half:]).update) == content(*updates)


def test_only_a_large_snapshot_without_missing_updates_has_an_outline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    updates = ordered_history(7)
    assert compact(None, updates).outline
    assert not compact(None, updates, outlined=False).outline
    # Without the first update, some of the others wait.
    assert not compact(None, updates[1:]).outline
    monkeypatch.setattr(compaction, "OUTLINED_BYTES", 10**6)
    assert not compact(None, updates).outline
    monkeypatch.setattr(compaction, "OUTLINED_BYTES", 0)
    monkeypatch.setattr(compaction, "OUTLINED_STRUCTS", 1)
    assert not compact(None, updates).outline
