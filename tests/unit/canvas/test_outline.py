"""An outline has the places that a check of its update finds, and steps with all structs. Proves R-STATE-27."""

import os
import subprocess
import sys
from typing import Any

import pytest
from pycrdt import Doc, Text

from svgx_canvas.document.outline import STEP_STRUCTS, make_outline, read_outline
from svgx_yjs.nesting import ListLengths, Nesting
from svgx_yjs.splitting import encode_steps, split
from tests.unit.canvas.histories import history


def _document(*updates: bytes) -> bytes:
    """Merge the updates of a history into one update without pending content."""
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc.get_update()


def _text(characters: str) -> bytes:
    """Return an update with a text in which each character is a struct of its own."""
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    for character in characters:
        text.insert(0, character)
    return doc.get_update()


UPDATES = [
    *[_document(*history(seed)) for seed in range(20)],
    _document(*history(99, length=3000)),
    _text("a😀b" * 300),
]


@pytest.mark.parametrize("update", UPDATES)
def test_outline_has_the_places_and_structs_of_the_check(update: bytes) -> None:
    parts = split(update, {}, Nesting())
    assert isinstance(parts.nesting, Nesting)
    outline = read_outline(make_outline(update) or b"", update)
    assert outline is not None
    assert outline.structs == parts.structs
    assert outline.nesting.clocks == parts.clocks
    for client, end in parts.clocks.items():
        for clock in range(end + 1):
            assert outline.nesting.get(client, clock) == parts.nesting.get(client, clock)
            assert outline.nesting.may_cut(client, clock) == parts.nesting.may_cut(client, clock)
    lists = ListLengths()
    lists.add(parts.nesting)
    assert outline.longest_list == lists.longest
    assert update[outline.deletions_at :] == update[len(encode_steps(update, parts.steps)) - 1 :]
    assert sum(step.structs for step in outline.steps) == outline.structs
    assert all(step.structs <= STEP_STRUCTS for step in outline.steps)
    whole: Doc[Any] = Doc()
    stepwise: Doc[Any] = Doc()
    whole.apply_update(update)
    with stepwise.transaction():
        for step in outline.steps:
            stepwise.apply_update(encode_steps(update, [step]))
        stepwise.apply_update(b"\0" + update[outline.deletions_at :])
    assert stepwise.get_update() == whole.get_update()


def test_long_update_has_steps_of_many_structs() -> None:
    outline = read_outline(make_outline(UPDATES[-1]) or b"", UPDATES[-1])
    assert outline is not None
    assert outline.structs > 600
    assert len(outline.steps) < 5


def test_pending_empty_or_short_update_has_no_outline() -> None:
    first, second, *_ = history(5)
    assert make_outline(second) is None  # pending, because it needs the first edit
    assert make_outline(b"\0\0") is None
    assert make_outline(first) is None  # a short edit has no steps


def test_outline_of_another_update_is_not_used() -> None:
    outline = make_outline(UPDATES[0]) or b""
    assert read_outline(outline, UPDATES[0]) is not None
    assert read_outline(outline, UPDATES[1]) is None
    assert read_outline(b"", UPDATES[0]) is None


def test_damaged_outline_is_not_used() -> None:
    outline = make_outline(UPDATES[0]) or b""
    for position in range(len(outline)):
        damaged = bytearray(outline)
        damaged[position] ^= 1
        assert read_outline(bytes(damaged), UPDATES[0]) is None
        assert read_outline(outline[:position], UPDATES[0]) is None


def test_outline_of_another_process_can_be_used() -> None:
    """Two processes make the same outline, although each Python process hashes strings differently."""
    program = (
        "import sys; from svgx_canvas.document.outline import make_outline;"
        "sys.stdout.buffer.write(make_outline(sys.stdin.buffer.read()))"
    )
    made = subprocess.run(
        [sys.executable, "-c", program],
        input=UPDATES[1],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
    )
    assert made.stdout == make_outline(UPDATES[1])
