"""Updates that were checked before are merged without checking each of them again. Proves R-SVG-8."""

import contextlib
import random

import pytest

from svgx_canvas.document import compaction, trusted_updates
from svgx_canvas.document.compaction import compact
from svgx_canvas.document.shared_document import SharedDocument
from svgx_canvas.document.trusted_updates import merge_trusted
from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.parts import Part
from svgx_yjs.splitting import split
from tests.unit.canvas.histories import content, history, ordered_history
from tests.unit.canvas.update_fuzzer import UpdateFuzzer
from tests.unit.yjs.updates import (
    ANY,
    NULL,
    STRING,
    after,
    between,
    deletions,
    in_root,
    text,
    update,
)

FIRST = update((5, 0, [in_root(ANY, NULL), in_root(ANY, NULL, key="l")]))
OTHER = update((6, 0, [in_root(ANY, NULL, root="other")]))
LONG = update((5, 0, [in_root(STRING, text("x" * 100))]))
REMOVAL = update(deleted=deletions((5, [(0, 100)])))


@pytest.mark.parametrize("seed", range(40))
def test_trusted_updates_in_order_make_the_snapshot_of_checked_ones(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "OUTLINED_BYTES", 0)
    updates = ordered_history(seed)
    assert merge_trusted(updates) is not None
    half = len(updates) // 2
    trusted = compact(None, updates[:half], trusted=True)
    assert trusted == compact(None, updates[:half])
    assert trusted.outline
    assert not compact(None, updates[:half], outlined=False, trusted=True).outline
    # An outlined snapshot is integrated in steps, so pycrdt may merge other structs than without steps.
    later, checked = (
        compact(trusted, updates[half:], trusted=each).update for each in (True, False)
    )
    assert content(later) == content(checked)
    later_parts, checked_parts = split(later, {}, Nesting()), split(checked, {}, Nesting())
    assert later_parts.clocks == checked_parts.clocks
    assert later_parts.deletions == checked_parts.deletions


@pytest.mark.parametrize("seed", range(200))
def test_trusted_parts_of_random_edits_make_the_snapshot_of_checked_ones(seed: int) -> None:
    """The updates are parts that a replica of collab saves, up to the first edit that releases a pending edit.

    Parts that wait for another edit are left out.
    """
    fuzzer = UpdateFuzzer(seed)
    document = SharedDocument.load()
    parts: list[Part] = []
    for _ in range(12):
        with contextlib.suppress(Malformed):
            parts += document.take(fuzzer.update())
    end = next((index + 1 for index, part in enumerate(parts) if part.releases), len(parts))
    updates = [part.update for part in parts[:end] if part.can_be_joined]
    assert not updates or merge_trusted(updates) is not None
    # pycrdt encodes the options of a subdocument in a random order.
    if b"guid" not in b"".join(updates):
        assert compact(None, updates, trusted=True) == compact(None, updates)


@pytest.mark.parametrize("seed", range(40))
def test_trusted_updates_in_any_order_keep_all_content(seed: int) -> None:
    rng = random.Random(seed)
    updates = history(seed)
    early = [update for update in updates if rng.random() < 0.8]
    late = [update for update in updates if update not in early]
    rng.shuffle(early)
    snapshot = compact(None, early, trusted=True)
    assert content(snapshot.update) == content(*early)
    assert content(snapshot.update, *late) == content(*updates)


@pytest.mark.parametrize(
    "updates",
    [
        pytest.param([update((5, 2, [in_root(ANY, NULL)])), FIRST], id="struct before the gap"),
        pytest.param([FIRST, update((5, 3, [in_root(ANY, NULL)]))], id="struct after a gap"),
        pytest.param([update((6, 0, [after(ANY, NULL, (5, 0))])), FIRST], id="missing neighbour"),
        pytest.param(
            [FIRST, update(deleted=deletions((5, [(1, 2)])))], id="deletion of a missing struct"
        ),
        pytest.param(
            [FIRST, update(deleted=deletions((7, [(0, 1)])))], id="deletion of a missing client"
        ),
        pytest.param(
            [FIRST, OTHER, update((7, 0, [between(ANY, NULL, (5, 0), (6, 0))]))],
            id="neighbours in different lists",
        ),
        pytest.param([FIRST, b"hello"], id="malformed"),
    ],
)
def test_trusted_updates_that_need_a_check_are_not_merged(updates: list[bytes]) -> None:
    assert merge_trusted(updates) is None


@pytest.mark.parametrize(
    ("updates", "limit", "bound"),
    [
        ([LONG, REMOVAL], "MAX_BYTES", len(LONG)),
        ([FIRST, OTHER], "MAX_BYTES", len(compact(None, [FIRST, OTHER]).update)),
        ([FIRST, OTHER], "MAX_VECTORS_BYTES", len(b"\1\5\2") + len(b"\2\6\1\5\2")),
    ],
    ids=["bytes of an update", "bytes of the result", "bytes of the vectors"],
)
def test_trusted_updates_over_a_limit_are_not_merged(
    updates: list[bytes], limit: str, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trusted_updates, limit, bound)
    assert merge_trusted(updates) is not None
    monkeypatch.setattr(trusted_updates, limit, bound - 1)
    assert merge_trusted(updates) is None
