"""The joined step of two edits: its undo and redo, and the edits that cannot be joined."""

import random

import pytest

from svgx_canvas import SvgRefused
from svgx_canvas.changes.joined_steps import join_steps
from tests.unit.canvas.changes.author import Author
from tests.unit.canvas.changes.random_changes import (
    Operation,
    document_of_any_client,
    random_operation,
)
from tests.unit.canvas.client_documents import document

WALL = {"op": "create", "id": "wall", "tag": "rect", "attrs": {"x": "1", "fill": "red"}}
GROUP = {"op": "create", "id": "group", "tag": "g"}


def join(earlier: bytes, later: bytes) -> bytes:
    joined = join_steps(earlier, later)
    assert joined
    return joined


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"op": "update", "id": "wall", "attrs": {"x": "2"}},) * 2,
        (
            {"op": "update", "id": "wall", "attrs": {"x": "2", "y": "5"}},
            {"op": "update", "id": "wall", "attrs": {"x": "3", "fill": None}},
        ),
        (
            {"op": "update", "id": "wall", "attrs": {"x": "2"}},
            {"op": "update", "id": "wall", "attrs": {"x": "1"}},
        ),
        (
            {"op": "update", "id": "words", "text": "two"},
            {"op": "update", "id": "words", "text": "three"},
        ),
        (
            {"op": "move", "id": "wall", "parent": "group"},
            {"op": "move", "id": "wall", "order": "b"},
        ),
        (
            {"op": "update", "id": "wall", "attrs": {"x": "2"}},
            {"op": "move", "id": "wall", "parent": "group"},
        ),
        ({"op": "update", "id": "wall", "attrs": {"x": "2"}}, {"op": "delete", "id": "wall"}),
        ({"op": "move", "id": "wall", "parent": "group"}, {"op": "delete", "id": "group"}),
        (
            {"op": "create", "id": "line", "tag": "line"},
            {"op": "update", "id": "line", "attrs": {"x2": "9"}},
        ),
        ({"op": "delete", "id": "wall"}, {"op": "delete", "id": "group"}),
    ],
)
def test_joined_step_undoes_and_redoes_both_edits(first: Operation, second: Operation) -> None:
    """Proves R-UNDO-9."""
    author = Author()
    author.change(
        WALL,
        GROUP,
        {"op": "create", "id": "label", "tag": "text"},
        {"op": "create", "id": "words", "tag": "#text", "parent": "label", "text": "one"},
    )
    before = author.canvas
    earlier = author.change(first)
    later = author.change(second) or earlier
    after = author.canvas
    redo = author.undo(join(earlier, later))
    assert author.canvas == before
    if redo:
        author.undo(redo)
        assert author.canvas == after


@pytest.mark.parametrize("seed", range(60))
def test_joined_step_of_random_edits_restores_the_canvas_from_before_them(seed: int) -> None:
    """Proves R-UNDO-9."""
    rng = random.Random(seed)
    author = Author(document_of_any_client(rng))
    # The first edit of a canvas with a cycle of parents stores the parents that the tree shows.
    author.change({"op": "create", "id": "first", "tag": "g"}, {"op": "delete", "id": "first"})
    step, before, joins = b"", author.canvas, 0
    for _ in range(40):
        present = author.canvas
        ids = [each.id for each in present.walk()] or ["none"]
        try:
            later = author.change(*[random_operation(rng, ids) for _ in range(3)])
        except SvgRefused:
            continue
        joined = join_steps(step, later) if step and later else b""
        if joined:
            step, joins = joined, joins + 1
        elif later:
            step, before = later, present
        if joins and rng.random() < 0.3:
            after = author.canvas
            redo = author.undo(step)
            assert author.canvas == before
            author.undo(redo)
            assert author.canvas == after


def test_joined_step_gives_back_the_value_of_another_author() -> None:
    """The other author has set the attribute between both edits. Proves R-UNDO-9."""
    author = Author()
    author.change(WALL)
    earlier = author.change({"op": "update", "id": "wall", "attrs": {"x": "2", "fill": "blue"}})
    author.others_change({"op": "update", "id": "wall", "attrs": {"x": "7"}})
    later = author.change({"op": "update", "id": "wall", "attrs": {"x": "3"}})
    author.undo(join(earlier, later))
    assert author.canvas.children[0].attrs == {"x": "7", "fill": "red"}


def test_joined_step_of_a_deletion_leaves_out_an_attribute_that_another_author_removed() -> None:
    """Proves R-UNDO-9."""
    author = Author()
    author.change(WALL)
    earlier = author.change({"op": "update", "id": "wall", "attrs": {"x": "2", "fill": "blue"}})
    author.others_change({"op": "update", "id": "wall", "attrs": {"x": None}})
    later = author.change({"op": "delete", "id": "wall"})
    author.undo(join(earlier, later))
    assert author.canvas.children[0].attrs == {"fill": "red"}


@pytest.mark.parametrize(
    ("first", "others", "second"),
    [
        (
            {"op": "create", "id": "new", "tag": "g"},
            {"op": "create", "id": "theirs", "tag": "rect", "parent": "new"},
            [{"op": "delete", "id": "new"}],
        ),
        (
            {"op": "create", "id": "new", "tag": "g"},
            {"op": "move", "id": "wall", "parent": "new"},
            [{"op": "move", "id": "wall", "parent": ""}, {"op": "delete", "id": "new"}],
        ),
        (
            {"op": "move", "id": "inner", "parent": "other"},
            {"op": "delete", "id": "group"},
            [{"op": "delete", "id": "inner"}],
        ),
    ],
)
def test_deletion_whose_undo_might_find_no_parent_has_a_step_of_its_own(
    first: Operation, others: Operation, second: list[Operation]
) -> None:
    """Its undo restores the canvas from before the deletion. Proves R-UNDO-9."""
    author = Author()
    author.change(
        WALL,
        GROUP,
        {"op": "create", "id": "other", "tag": "g"},
        {"op": "create", "id": "inner", "tag": "rect", "parent": "group"},
    )
    earlier = author.change(first)
    author.others_change(others)
    before = author.canvas
    later = author.change(*second)
    assert not join_steps(earlier, later)
    author.undo()
    assert author.canvas == before
    assert author.skipped == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([{"op": "delete", "id": "wall"}], [WALL]),
        (
            [{"op": "update", "id": "wall", "attrs": {"x": "2"}}],
            [{"op": "delete", "id": "wall"}, {**WALL, "tag": "line"}],
        ),
        ([{"op": "create", "id": "new", "tag": "g"}], [{"op": "delete", "id": "new"}]),
        (
            [{"op": "update", "id": "wall", "attrs": {"d": "".join(map(str, range(60_000)))}}],
            [{"op": "update", "id": "wall", "attrs": {"x": "2"}}],
        ),
    ],
)
def test_steps_of_other_edits_are_not_joined(
    first: list[Operation], second: list[Operation]
) -> None:
    """Both edits have a step each, also edits without a common effect and large ones. Proves R-UNDO-9."""
    author = Author()
    author.change(WALL, GROUP)
    assert not join_steps(author.change(*first), author.change(*second))


def test_step_that_gives_siblings_new_indexes_is_not_joined() -> None:
    """Proves R-UNDO-9."""
    fields = {"tag": "rect", "parent": "", "attrs": {}}
    author = Author(document({f"e{order}": {**fields, "order": order} for order in "5678"}))
    renumbering = author.change({"op": "create", "id": "mine", "tag": "rect", "after": "e6"})
    update = author.change({"op": "update", "id": "mine", "attrs": {"x": "2"}})
    assert join_steps(renumbering, update)
    moved = author.change({"op": "update", "id": "e7", "attrs": {"x": "2"}})
    assert not join_steps(renumbering, moved)
    assert not join_steps(moved, renumbering)


def test_joined_step_of_a_drag_stays_small() -> None:
    """Proves R-UNDO-9."""
    author = Author()
    author.change(WALL)
    steps = [
        author.change({"op": "update", "id": "wall", "attrs": {"x": str(number)}})
        for number in range(2, 60)
    ]
    joined = steps[0]
    for each in steps[1:]:
        joined = join(joined, each)
    assert len(joined) < len(steps[0]) + 8
    author.undo(joined)
    assert author.canvas.children[0].attrs["x"] == "1"
