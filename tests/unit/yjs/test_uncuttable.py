"""Clocks before which strings must not be cut, compared with plain sets."""

import random
import sys

import pytest

from svgx_yjs import nesting
from svgx_yjs.contents import STRING, skip_content
from svgx_yjs.lib0 import Decoder, Encoder
from svgx_yjs.nesting import Nesting, Uncuttable
from svgx_yjs.splitting import split
from tests.unit.yjs.updates import in_root, text, update

EMOJI = "\U0001f600"


def offsets(content: str) -> tuple[int, Uncuttable]:
    """Return the length of a string and its forbidden offsets, as `skip_content` reads them."""
    return skip_content(Decoder(Encoder().text(content).finish()), STRING)


def low_surrogates(content: str) -> set[int]:
    """Return the offsets of the second code units of characters."""
    units = content.encode("utf-16-le")
    return {at // 2 for at in range(0, len(units), 2) if 0xDC <= units[at + 1] < 0xE0}


def members(found: Uncuttable, end: int) -> set[int]:
    """Return the clocks before `end` that `found` contains."""
    return {clock for clock in range(end) if clock in found}


@pytest.mark.parametrize("seed", range(20))
def test_offsets_of_a_string_are_those_of_its_low_surrogates(seed: int) -> None:
    """All offsets are found at which an edit would cut a character in half. Proves R-SYNC-12."""
    chosen = random.Random(seed)
    content = "".join(chosen.choices(["a", "é", "\uffff", "\U00010000", EMOJI], k=seed * 3))
    length, found = offsets(content)
    assert length == len(content.encode("utf-16-le")) // 2
    assert members(found, length + 2) == low_surrogates(content)


@pytest.mark.parametrize("seed", range(20))
def test_extend_adds_the_increased_offsets_above_the_start(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`extend` increases a string's forbidden offsets by `offset`, and adds those above `start`. Proves R-SYNC-12."""
    monkeypatch.setattr(nesting, "_RUNS_PER_CALL", 3)
    chosen = random.Random(seed)
    found, expected, end = Uncuttable(), set[int](), 0
    for _ in range(5):
        content = "".join(chosen.choices(["a", EMOJI], k=20))
        length, added = offsets(content)
        known = chosen.randrange(length)
        offset = end - known
        found.extend(added, offset, start=end)
        expected |= {offset + each for each in low_surrogates(content) if offset + each > end}
        end = offset + length
    assert members(found, end + 2) == expected


@pytest.mark.parametrize(("content", "bytes_each"), [(EMOJI, 1), (f"a{EMOJI}", 20)])
def test_clocks_of_many_characters_take_little_memory(content: str, bytes_each: int) -> None:
    """A set would need about 80 bytes for each character. Proves R-BOUND-2."""
    count = 10_000
    edit = update((7, 0, [in_root(STRING, text(content * count))]))
    places = Nesting()
    for _ in range(2):
        places.update(split(edit, {}, Nesting()).nesting)
    (found,) = places._uncuttable.values()
    assert sys.getsizeof(found.firsts) + sys.getsizeof(found.lasts) < count * 2 * bytes_each
    assert not places.may_cut(7, 1 + content.index(EMOJI))
    assert places.may_cut(7, 0)
