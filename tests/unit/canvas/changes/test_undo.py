"""Undo of changes of elements: their effect on the document, alone and after edits of others."""

import random

import pytest

from svgx_canvas import SvgRefused, undo
from svgx_canvas.limits import Limits
from tests.unit.canvas.changes.author import Author
from tests.unit.canvas.changes.random_changes import (
    Operation,
    document_of_any_client,
    random_operation,
)
from tests.unit.canvas.client_documents import document

WALL = {"op": "create", "id": "wall", "tag": "rect", "attrs": {"width": "5", "fill": "red"}}
GROUP = {"op": "create", "id": "group", "tag": "g"}
LABEL: list[Operation] = [
    {"op": "create", "id": "label", "tag": "text"},
    {"op": "create", "id": "words", "tag": "#text", "parent": "label", "text": "one"},
]


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "create", "id": "new", "tag": "rect", "parent": "group"}],
        [{"op": "update", "id": "wall", "attrs": {"fill": None, "width": "6", "x": "1"}}],
        [{"op": "update", "id": "", "attrs": {"viewBox": "0 0 9 9"}}],
        [{"op": "update", "id": "words", "text": "two"}],
        [{"op": "move", "id": "wall", "parent": "group"}],
        [{"op": "move", "id": "label", "before": "wall"}],
        [{"op": "delete", "id": "label"}],
        [{"op": "delete", "id": "words"}, {"op": "delete", "id": "label"}],
        [{"op": "move", "id": "wall", "parent": "group"}, {"op": "delete", "id": "group"}],
        [
            {"op": "move", "id": "group", "parent": "inner"},
            {"op": "move", "id": "label", "parent": "group"},
        ],
        [
            {"op": "create", "id": "new", "tag": "g"},
            {"op": "move", "id": "group", "parent": "new"},
            {"op": "delete", "id": "new"},
        ],
        # The next edits replace an element by another one with its id.
        [{"op": "delete", "id": "wall"}, {**WALL, "tag": "line", "attrs": {"x2": "9"}}],
        [
            {"op": "delete", "id": "label"},
            {"op": "create", "id": "label", "tag": "g", "parent": "group"},
            {"op": "move", "id": "wall", "parent": "label"},
        ],
        [
            {"op": "delete", "id": "label"},
            {"op": "create", "id": "words", "tag": "text"},
            {"op": "create", "id": "label", "tag": "#text", "parent": "words", "text": "two"},
        ],
        [
            {"op": "move", "id": "wall", "parent": "group"},
            {"op": "delete", "id": "group"},
            {"op": "create", "id": "group", "tag": "a"},
            {**WALL, "tag": "g", "parent": "group"},
        ],
    ],
)
def test_undone_edit_leaves_the_canvas_as_before(operations: list[Operation]) -> None:
    """An undo of the undo makes the edit again. Proves R-UNDO-1 and R-UNDO-4."""
    author = Author()
    author.change(WALL, GROUP, *LABEL, {"op": "create", "id": "inner", "tag": "g"})
    before = author.canvas
    author.change(*operations)
    after = author.canvas
    redo = author.undo()
    assert author.canvas == before
    assert author.skipped == []
    author.steps.append(redo)
    author.undo()
    assert author.canvas == after
    assert author.skipped == []


@pytest.mark.parametrize(
    ("orders", "operations"),
    [
        # The moved element gets its earlier index again, because its siblings get new ones.
        (["a0", "a0", "a1"], [{"op": "move", "id": "e2", "after": "e0"}]),
        (["", "a0"], [{"op": "move", "id": "e1", "before": "e0"}]),
        (["a000", "a000", "a1"], [{"op": "move", "id": "e2", "after": "e0"}]),
        (
            ["a0", "a0", "a1"],
            [
                {"op": "delete", "id": "e2"},
                {"op": "create", "id": "e2", "tag": "rect", "after": "e0"},
            ],
        ),
    ],
)
def test_undo_of_a_move_among_renumbered_siblings_moves_the_element_back(
    orders: list[str], operations: list[Operation]
) -> None:
    """The undo and its redo move the element, whichever index it gets. Proves R-UNDO-1 and R-UNDO-2."""
    fields = {"tag": "rect", "parent": "", "attrs": {}}
    siblings = {f"e{number}": {**fields, "order": order} for number, order in enumerate(orders)}
    author = Author(document(siblings))
    before = author.canvas
    author.change(*operations)
    after = author.canvas
    assert [each.id for each in after.children] != [each.id for each in before.children]
    redo = author.undo()
    assert (author.canvas, author.skipped) == (before, [])
    author.steps.append(redo)
    author.undo()
    assert (author.canvas, author.skipped) == (after, [])


@pytest.mark.parametrize("seed", range(60))
def test_random_edits_are_undone_and_redone_one_by_one(seed: int) -> None:
    """Each undo restores the canvas from before its edit, and each redo that from after it. Proves R-UNDO-1."""
    rng = random.Random(seed)
    author = Author(document_of_any_client(rng))
    # The first edit of a canvas with a cycle of parents stores the parents that the tree shows.
    author.change({"op": "create", "id": "first", "tag": "g"}, {"op": "delete", "id": "first"})
    canvases = [author.canvas]
    for _ in range(12):
        ids = [each.id for each in author.canvas.walk()] or ["none"]
        steps = len(author.steps)
        try:
            author.change(*[random_operation(rng, ids) for _ in range(rng.randrange(1, 6))])
        except SvgRefused:
            continue
        if len(author.steps) > steps:
            canvases.append(author.canvas)
    redos: list[bytes] = []
    for canvas in reversed(canvases[:-1]):
        redos.append(author.undo())
        assert (author.canvas, author.skipped) == (canvas, [])
    for canvas in canvases[1:]:
        author.steps.append(redos.pop())
        author.undo()
        assert (author.canvas, author.skipped) == (canvas, [])


@pytest.mark.parametrize("seed", range(40))
def test_undo_between_edits_of_two_authors_can_be_undone_itself(seed: int) -> None:
    """It changes nothing more than its step has, with any document. Proves R-UNDO-1 and R-UNDO-2."""
    rng = random.Random(seed)
    author = Author(document_of_any_client(rng))
    author.change({"op": "create", "id": "first", "tag": "g"}, {"op": "delete", "id": "first"})
    steps: tuple[list[bytes], list[bytes]] = ([], [])
    for _ in range(20):
        author.steps = rng.choice(steps)
        before = author.canvas
        ids = [each.id for each in before.walk()] or ["none"]
        try:
            if not author.steps or rng.random() < 0.6:
                author.change(*[random_operation(rng, ids) for _ in range(rng.randrange(1, 6))])
                continue
            step_back = author.undo()
        except SvgRefused:
            continue
        if step_back:
            author.steps.append(step_back)
            after = author.canvas
            step_again = author.undo()
            assert (author.canvas, author.skipped) == (before, [])
            author.steps.append(step_again)
            author.undo()
            assert author.canvas == after


@pytest.mark.parametrize(
    ("edit", "others", "kept"),
    [
        (
            {"op": "update", "id": "wall", "attrs": {"fill": "blue", "width": "6"}},
            {"op": "update", "id": "wall", "attrs": {"fill": "green"}},
            {"fill": "green", "width": "5"},
        ),
        (
            {"op": "update", "id": "wall", "attrs": {"fill": None}},
            {"op": "update", "id": "wall", "attrs": {"fill": "green"}},
            {"fill": "green", "width": "5"},
        ),
    ],
)
def test_attribute_that_another_edit_has_set_since_is_kept(
    edit: Operation, others: Operation, kept: dict[str, str]
) -> None:
    """The other attributes of the element are set back. Proves R-UNDO-2."""
    author = Author()
    author.change(WALL)
    author.change(edit)
    author.others_change(others)
    author.undo()
    (wall,) = author.canvas.children
    assert wall.attrs == kept
    assert author.skipped == ["wall"]


@pytest.mark.parametrize(
    ("edit", "others"),
    [
        (
            {"op": "update", "id": "words", "text": "two"},
            {"op": "update", "id": "words", "text": "3"},
        ),
        ({"op": "move", "id": "words", "order": "b"}, {"op": "move", "id": "words", "order": "c"}),
        ({"op": "update", "id": "words", "text": "two"}, {"op": "delete", "id": "words"}),
        ({"op": "delete", "id": "words"}, {"op": "delete", "id": "label"}),
        (
            {"op": "delete", "id": "words"},
            {"op": "create", "id": "words", "tag": "g"},
        ),
    ],
)
def test_element_that_another_edit_has_changed_since_is_kept(
    edit: Operation, others: Operation
) -> None:
    """The undo changes nothing, and names the element. Proves R-UNDO-2."""
    author = Author()
    author.change(*LABEL)
    author.change(edit)
    author.others_change(others)
    before = author.canvas
    assert author.undo() == b""
    assert author.canvas == before
    assert (author.changed, author.skipped) == ([], ["words"])


def test_move_into_an_element_that_is_inside_now_is_kept() -> None:
    """An undo makes no cycle of parents. Proves R-UNDO-2."""
    author = Author()
    author.change(GROUP, {"op": "create", "id": "inner", "tag": "g", "parent": "group"})
    author.change({"op": "move", "id": "inner", "parent": ""})
    author.others_change({"op": "move", "id": "group", "parent": "inner"})
    author.undo()
    assert author.skipped == ["inner"]
    assert [each.id for each in author.canvas.walk()] == ["inner", "group"]


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "create", "id": "mine", "tag": "rect", "after": "e6"}],
        [{"op": "move", "id": "e8", "after": "e6"}],
        [{"op": "move", "id": "e5", "after": "e6"}, {"op": "delete", "id": "e8"}],
        [
            {"op": "update", "id": "e7", "attrs": {"fill": "red"}},
            {"op": "create", "id": "mine", "tag": "rect", "after": "e6"},
        ],
    ],
)
def test_undo_keeps_the_place_of_an_element_between_renumbered_siblings(
    operations: list[Operation],
) -> None:
    """Siblings with foreign indexes get new ones, and keep them. Proves R-UNDO-2."""
    fields = {"tag": "rect", "parent": "", "attrs": {}}
    author = Author(document({f"e{order}": {**fields, "order": order} for order in "5678"}))
    author.change(*operations)
    author.others_change({"op": "create", "id": "theirs", "tag": "rect", "after": "e6"})
    author.undo()
    assert [each.id for each in author.canvas.children] == ["e5", "e6", "theirs", "e7", "e8"]
    assert all(each.attrs == {} for each in author.canvas.children)


@pytest.mark.parametrize(
    ("operations", "changed"),
    [
        ([{"op": "delete", "id": "e6"}, {"op": "delete", "id": "e7"}], ["e6", "e7"]),
        ([{"op": "delete", "id": "e7"}, {"op": "delete", "id": "e6"}], ["e6", "e7"]),
        (
            [{"op": "move", "id": each, "parent": "group"} for each in ("e6", "e7")],
            ["e6", "e7"],
        ),
    ],
)
def test_undo_keeps_the_order_of_elements_that_return_between_renumbered_siblings(
    operations: list[Operation], changed: list[str]
) -> None:
    """The siblings keep their new indexes, because another author has put an element between them.

    Proves R-UNDO-2.
    """
    fields = {"tag": "rect", "parent": "", "attrs": {}}
    group = {"tag": "g", "parent": "", "order": "z", "attrs": {}}
    siblings: dict[str, object] = {f"e{order}": {**fields, "order": order} for order in "5678"}
    author = Author(document({**siblings, "group": group}))
    author.change(*operations, {"op": "create", "id": "mine", "tag": "rect", "after": "e5"})
    author.others_change({"op": "create", "id": "theirs", "tag": "rect", "before": "e8"})
    author.undo()
    order = [each.id for each in author.canvas.children]
    assert [each for each in order if each != "theirs"] == ["e5", "e6", "e7", "e8", "group"]
    assert set(changed) <= set(author.changed)


def test_undo_of_a_creation_deletes_later_edits_and_its_redo_creates_them_again() -> None:
    """Other authors have changed the element, and have added one inside. Proves R-UNDO-3."""
    author = Author()
    author.change(GROUP)
    author.others_change({**WALL, "parent": "group"})
    author.others_change({"op": "update", "id": "group", "attrs": {"opacity": "0.5"}})
    before = author.canvas
    redo = author.undo()
    assert author.canvas.children == []
    assert author.changed == ["group", "wall"]
    author.steps.append(redo)
    author.undo()
    assert author.canvas == before


def test_undo_of_a_creation_skips_no_element_that_another_edit_has_deleted() -> None:
    """Proves R-UNDO-3."""
    author = Author()
    author.change(WALL)
    author.others_change({"op": "delete", "id": "wall"})
    assert author.undo() == b""
    assert (author.changed, author.skipped) == ([], [])


def test_undo_beyond_a_limit_of_the_canvas_is_refused() -> None:
    """Proves R-UNDO-5."""
    author = Author()
    author.change(WALL)
    author.change({"op": "delete", "id": "wall"})
    author.others_change({**WALL, "id": "other"})
    with pytest.raises(SvgRefused) as refused:
        undo(author.state, author.steps[-1], Limits(expanded_elements=2))
    assert (refused.value.field, refused.value.limit) == ("canvas_id", 2)


def test_forbidden_element_of_a_yjs_client_is_restored() -> None:
    """The export leaves it out, as before. Proves R-UNDO-5."""
    author = Author(document({"code": {"tag": "script", "parent": "", "order": "a0", "attrs": {}}}))
    author.change({"op": "delete", "id": "code"})
    author.undo()
    assert [each.tag for each in author.canvas.walk()] == ["script"]


def test_edit_without_an_effect_has_no_step() -> None:
    """Proves R-UNDO-1."""
    author = Author()
    author.change(WALL)
    author.change({"op": "update", "id": "wall", "attrs": {"fill": "red"}})
    author.change({**WALL, "id": "gone"}, {"op": "delete", "id": "gone"})
    assert len(author.steps) == 1


def test_step_of_repeated_content_is_small() -> None:
    """The worker compresses it, and not the replica, which would serve no canvas meanwhile. Proves R-UNDO-6."""
    author = Author()
    author.change({**WALL, "attrs": {"d": "M0 0" * 200_000}, "tag": "path"})
    author.change({"op": "delete", "id": "wall"})
    assert len(author.steps[-1]) < 4000
    author.undo()
    assert [each.id for each in author.canvas.walk()] == ["wall"]
