"""Random updates, well formed or not: no update that passes the check makes pycrdt fail."""

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
from tests.unit.yjs.updates import (
    ANY,
    BINARY,
    DELETED,
    DOC,
    EMBED,
    FORMAT,
    GC,
    MAP,
    NULL,
    SKIP,
    STRING,
    TYPE,
    Struct,
    after,
    between,
    deletions,
    gap,
    in_root,
    inside,
    text,
    update,
)

CLIENTS = (1, 2, 3, 4)
CONTENTS = [
    (DELETED, b"\x02", 2),
    (BINARY, b"\x02xy", 1),
    (STRING, text("a"), 1),
    (STRING, text("a𝄞b"), 4),
    (EMBED, text('{"e":1}'), 1),
    (FORMAT, text("bold") + text("null"), 1),
    (TYPE, MAP, 1),
    (TYPE, b"\x00", 1),
    (TYPE, b"\x02", 1),
    (TYPE, b"\x03" + text("n"), 1),
    (ANY, NULL, 1),
    (ANY, b"\x02\x75\x01\x7e\x76\x00", 2),
    (DOC, text("guid") + b"\x76\x00", 1),
]
"""Contents of structs: kind, encoded content, and length in clocks."""


class UpdateFuzzer:
    """A generator of updates. Their structs refer to each other and to arbitrary other structs."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._clocks = self._rng.choice([2, 5, 12])

    def update(self) -> bytes:
        rng = self._rng
        sections = []
        for client in rng.sample(CLIENTS, rng.randrange(1, 4)):
            clock = start = rng.randrange(self._clocks)
            structs: list[Struct] = []
            for _ in range(rng.randrange(1, 5)):
                struct, length = self._struct(client, clock)
                structs.append(struct)
                clock += length
            sections.append((client, start, structs))
        return update(*sections, deleted=self._deletions())

    def short(self, known: Mapping[int, int]) -> bytes:
        """Return an update with one struct, which follows the client's structs in a document with these clocks."""
        client = self._rng.choice(CLIENTS)
        clock = known.get(client, 0)
        struct, _ = self._struct(client, clock)
        return update((client, clock, [struct]), deleted=self._deletions())

    def _struct(self, client: int, clock: int) -> tuple[Struct, int]:
        rng = self._rng
        if rng.random() < 0.15:
            length = rng.randrange(1, 4)
            return gap(rng.choice([GC, SKIP]), length), length
        kind, content, length = rng.choice(CONTENTS)
        match rng.randrange(4):
            case 0:
                return in_root(kind, content, key=rng.choice("ab"), root=rng.choice("tu")), length
            case 1:
                key = rng.choice("ab")
                return inside(kind, content, self._random_id(client, clock), key=key), length
            case 2:
                return after(kind, content, self._random_id(client, clock)), length
            case _:
                left, right = self._random_id(client, clock), self._random_id(client, clock)
                return between(kind, content, left, right), length

    def _random_id(self, client: int, clock: int) -> tuple[int, int]:
        other = self._rng.choice(CLIENTS)
        return other, self._rng.randrange(max(1, clock) if other == client else self._clocks)

    def _deletions(self) -> bytes:
        rng = self._rng
        return deletions(
            *(
                (client, [(rng.randrange(self._clocks), rng.randrange(1, 4)) for _ in range(2)])
                for client in rng.sample(CLIENTS, rng.randrange(3))
            )
        )


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
    """Return the parts that `split` finds in an update, with the last place of each client, or the error's text."""
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
    short = 0
    for _ in range(150):
        content = fuzzer.short(known)
        quick = parts_of(content, known, nesting)
        with monkeypatch.context() as patch:
            patch.setattr(splitting, "split_short", lambda *_: None)
            assert parts_of(content, known, nesting) == quick
        with contextlib.suppress(Malformed):
            short += split_short(content, known, nesting) is not None
            parts = split(content, known, nesting)
            known.update(parts.clocks)
            nesting.update(parts.nesting)
    assert short > 0
