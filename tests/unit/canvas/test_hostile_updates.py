"""No random update that passes the check makes pycrdt fail. Some of the updates are malformed."""

import contextlib
import random
from collections.abc import Mapping

import pytest

from svgx_canvas import compact
from svgx_canvas.document.shared_document import SharedDocument
from svgx_yjs import splitting
from svgx_yjs.lib0 import Malformed
from svgx_yjs.nesting import Nesting
from svgx_yjs.short_edits import split_short
from svgx_yjs.splitting import check, split
from svgx_yjs.structure import EMPTY_STATE_VECTOR, read_state_vector
from tests.unit.canvas.update_fuzzer import UpdateFuzzer


@pytest.mark.parametrize("seed", range(300))
def test_random_update_is_refused_integrated_or_pending(seed: int) -> None:
    """Proves R-SYNC-12: pycrdt does not fail, and the document's clocks equal pycrdt's clocks."""
    fuzzer = UpdateFuzzer(seed)
    document = SharedDocument.load()
    passed = []
    for _ in range(12):
        content = fuzzer.update()
        with contextlib.suppress(Malformed):
            document.take(content)
            passed.append(content)
    pycrdt_clocks = read_state_vector(document.state_vector())
    reloaded = SharedDocument.load(passed)
    assert reloaded.left_out == 0
    assert {client: clock for client, clock in pycrdt_clocks.items() if clock} == {
        client: clock for client, clock in document.clocks.items() if clock
    }
    reloaded.missing(EMPTY_STATE_VECTOR)
    SharedDocument.load([compact(None, passed).update])


@pytest.mark.parametrize("seed", range(300))
def test_update_with_random_bytes_is_refused_or_read(seed: int) -> None:
    """Proves R-SYNC-12: pycrdt reads every update that passes the check."""
    rng = random.Random(seed)
    document = SharedDocument.load()
    for _ in range(20):
        content = bytearray(UpdateFuzzer(rng.randrange(1000)).update())
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] = rng.choice(
                [0, 1, 2, 127, 128, 255, rng.randrange(256)]
            )
        with contextlib.suppress(Malformed):
            check(bytes(content))
            document.take(bytes(content))


def parts_of(content: bytes, known: Mapping[int, int], nesting: Nesting) -> object:
    """Return the parts that `split` finds in an update and the last place of each client, or the text of the error."""
    try:
        parts = split(content, known, nesting)
    except Malformed as error:
        return str(error)
    ends = parts.clocks.items()
    places = [parts.nesting.get(client, clock - 1) for client, clock in ends]
    return parts.ready, parts.pending, parts.clocks, parts.runs, parts.deletions, places


@pytest.mark.parametrize("seed", range(40))
def test_short_edit_is_split_as_any_other_update(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-SYNC-12: the quick check of short edits and the check of all updates have the same result."""
    fuzzer = UpdateFuzzer(seed)
    known: dict[int, int] = {}
    nesting = Nesting()
    short_count = 0
    for _ in range(150):
        content = fuzzer.short_edit(known)
        quick = parts_of(content, known, nesting)
        with monkeypatch.context() as patch:
            patch.setattr(splitting, "split_short", lambda *_: None)
            assert parts_of(content, known, nesting) == quick
        with contextlib.suppress(Malformed):
            short_count += split_short(content, known, nesting) is not None
            parts = split(content, known, nesting)
            known.update(parts.clocks)
            nesting.update(parts.nesting)
    assert short_count > 0
