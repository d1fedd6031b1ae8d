"""Changes of elements: their effect on the document, also with elements in all forms that clients write."""

import json
import random
from typing import Any

import pytest
from pycrdt import Doc, Map, Text, merge_updates

from svgx_canvas import SvgRefused, change_elements, export_json, export_svg, import_svg
from svgx_canvas.changes import change_elements as module
from svgx_canvas.changes.editable_tree import LONG_KEY
from svgx_canvas.document.element_tree import load, read
from svgx_canvas.limits import Limits
from svgx_canvas.tree import Canvas
from svgx_yjs.structure import EMPTY_UPDATE, read_state_vector
from tests.unit.canvas.changes.random_changes import document_of_any_client, random_operation

Operation = dict[str, Any]


def change(state: bytes, *operations: Operation) -> bytes:
    """Return the state after the operations."""
    changed = change_elements(state, json.dumps(operations).encode())
    return merge_updates(state, changed.update)


def elements(state: bytes) -> list[dict[str, Any]]:
    """Return the elements in document order, as the JSON export has them."""
    found = json.loads(export_json(state))["elements"]
    assert isinstance(found, list)
    return found


def order_of(state: bytes, parent: str = "") -> list[str]:
    """Return the ids of a parent's children in their order."""
    return [each["id"] for each in elements(state) if each["parent"] == parent]


def rects(*ids: str, **fields: object) -> list[Operation]:
    """Return operations that create a rect for each id."""
    return [{"op": "create", "id": each, "tag": "rect", **fields} for each in ids]


def test_later_operations_use_elements_of_earlier_ones() -> None:
    """The ids of the created elements have the order of the operations. Proves R-ELEMENT-1 and R-ELEMENT-3."""
    operations: list[Operation] = [
        {"op": "create", "id": "group", "tag": "g"},
        {"op": "create", "tag": "text", "parent": "group", "attrs": {"x": "1", "y": "2"}},
        {"op": "create", "id": "gone", "tag": "rect"},
        {"op": "create", "id": "wall", "tag": "rect", "before": "group"},
        {"op": "update", "id": "wall", "attrs": {"fill": "red", "width": "5"}},
        {"op": "update", "id": "wall", "attrs": {"fill": None}},
        {"op": "move", "id": "wall", "parent": "group"},
        {"op": "delete", "id": "gone"},
        {"op": "update", "id": "", "attrs": {"viewBox": "0 0 10 10"}},
    ]
    changed = change_elements(EMPTY_UPDATE, json.dumps(operations).encode())
    group, chosen, *others = changed.created
    assert (group, others) == ("group", ["gone", "wall"])
    exported = json.loads(export_json(changed.update))
    assert exported["canvas"] == {"viewBox": "0 0 10 10"}
    common = {"parent": "group"}
    assert exported["elements"] == [
        {"id": "group", "tag": "g", "parent": "", "order": "a0", "attrs": {}},
        {"id": chosen, "tag": "text", **common, "order": "a0", "attrs": {"x": "1", "y": "2"}},
        {"id": "wall", "tag": "rect", **common, "order": "a1", "attrs": {"width": "5"}},
    ]


def test_exported_elements_are_valid_operations() -> None:
    """A canvas that is created from the JSON of another one looks the same. Proves R-ELEMENT-6."""
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg"><style>rect{fill:red}</style>'
        b'<g id="a"><rect width="5" style="stroke:#000"/><text>one <tspan>two</tspan> three</text></g></svg>'
    )
    state = import_svg(svg, None).update
    copy = change(EMPTY_UPDATE, *[{"op": "create", **each} for each in elements(state)])
    assert elements(copy) == elements(state)
    assert export_svg(copy) == export_svg(state)


def test_places_beside_siblings() -> None:
    """Proves R-ELEMENT-4."""
    state = change(EMPTY_UPDATE, *rects("a", "b", "c"))
    state = change(state, *rects("d", before="a"), *rects("e", after="a"), *rects("f", order="a1V"))
    assert order_of(state) == ["d", "a", "e", "b", "f", "c"]
    moves = [{"op": "move", "id": "d", "after": "c"}, {"op": "move", "id": "b", "parent": ""}]
    assert order_of(change(state, *moves)) == ["a", "e", "f", "c", "d", "b"]


@pytest.mark.parametrize(
    "orders",
    [["a1", "a1", "a1"], ["", "", ""], ["5", "a0", "a0"], ["a0", "a00", "a1"], ["a" * 999] * 3],
)
def test_place_between_siblings_without_a_key_between_them(orders: list[str]) -> None:
    """Only neighbors with equal, foreign or long indexes get new indexes. Proves R-ELEMENT-4."""
    ids = "abc"
    state = change(EMPTY_UPDATE, *rects("first", order="Zz"), *rects("last", order="c000"))
    for each, order in zip(ids, orders, strict=True):
        state = change(state, *rects(each, order=order))
    before = order_of(state)
    for place in range(1, len(before)):
        new = change(state, *rects("new", after=before[place - 1]))
        assert order_of(new) == [*before[:place], "new", *before[place:]]
        unchanged = {each["id"]: each["order"] for each in elements(new)}
        assert unchanged["last"] == "c000"


def test_many_insertions_at_one_place_keep_short_indexes() -> None:
    """Proves R-ELEMENT-4."""
    state = change(EMPTY_UPDATE, *rects("a", "b"))
    for start in range(0, 4000, 500):
        ids = [f"n{number}" for number in range(start, start + 500)]
        operations = [operation for each in ids for operation in rects(each, before="b")]
        state = change(state, *operations)
    assert order_of(state) == ["a", *[f"n{number}" for number in range(4000)], "b"]
    assert max(len(each["order"]) for each in elements(state)) <= LONG_KEY


def test_only_named_values_are_written() -> None:
    """A concurrent edit of another attribute, or of other characters, is kept. Proves R-ELEMENT-5."""
    doc: Doc[Any] = Doc()
    stored = doc.get("elements", type=Map)
    stored["wall"] = Map({"tag": "rect", "attrs": Map({"x": "1", "y": "1"})})
    stored["label"] = Map({"tag": "text", "attrs": Map()})
    stored["words"] = Map({"tag": "#text", "parent": "label", "text": Text("one two")})
    state = doc.get_update()
    operations = [
        {"op": "update", "id": "wall", "attrs": {"x": "2"}},
        {"op": "update", "id": "words", "text": "one 2"},
    ]
    changed = change_elements(state, json.dumps(operations).encode())
    stored["wall"]["attrs"]["y"] = "3"
    stored["words"]["text"].insert(0, "not ")
    doc.apply_update(changed.update)
    assert stored["wall"]["attrs"].to_py() == {"x": "2", "y": "3"}
    assert str(stored["words"]["text"]) == "not one 2"


def test_changes_have_a_new_yjs_client() -> None:
    """Two edits that are computed at the same time merge. Proves R-ELEMENT-5."""
    state = change(EMPTY_UPDATE, *rects("a"))
    one = change_elements(state, json.dumps(rects("b")).encode()).update
    other = change_elements(state, json.dumps(rects("c")).encode()).update
    merged = merge_updates(state, one, other)
    assert {each["id"] for each in elements(merged)} == {"a", "b", "c"}
    assert len(read_state_vector(load(merged).get_state())) == 3


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "update", "id": "wall"},
        {"op": "update", "id": "wall", "attrs": {"x": "1", "fill": None}},
        {"op": "update", "id": "words", "text": "one"},
        {"op": "move", "id": "label"},
        {"op": "move", "id": "label", "parent": ""},
        {"op": "move", "id": "label", "after": "wall"},
        {"op": "move", "id": "wall", "before": "label"},
        {"op": "move", "id": "wall", "order": "a0"},
    ],
)
def test_changes_without_effect_are_an_empty_update(operation: Operation) -> None:
    """The values are the present ones. Proves R-ELEMENT-5."""
    state = change(
        EMPTY_UPDATE,
        {"op": "create", "id": "wall", "tag": "rect", "order": "a0", "attrs": {"x": "1"}},
        {"op": "create", "id": "label", "tag": "text"},
        {"op": "create", "id": "words", "tag": "#text", "parent": "label", "text": "one"},
    )
    changed = change_elements(state, json.dumps([operation]).encode())
    assert (changed.update, changed.step) == (EMPTY_UPDATE, b"")


def test_update_keeps_a_concurrent_change_of_a_value_that_it_repeats() -> None:
    """Only the new value is written. Proves R-ELEMENT-5."""
    wall = {"op": "create", "id": "wall", "tag": "rect", "attrs": {"x": "1", "fill": "red"}}
    state = change(EMPTY_UPDATE, wall)
    theirs = change(state, {"op": "update", "id": "wall", "attrs": {"fill": "blue"}})
    for _ in range(20):  # Yjs decides between two values by the random ids of their clients
        mine = change(state, {"op": "update", "id": "wall", "attrs": {"x": "2", "fill": "red"}})
        (element,) = elements(merge_updates(theirs, mine))
        assert element["attrs"] == {"x": "2", "fill": "blue"}


@pytest.mark.parametrize("seed", range(40))
def test_document_after_random_changes_has_the_tree_of_the_changes(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the changed document gives the tree that the operations made. Proves R-ELEMENT-1 and R-ELEMENT-5."""
    rng = random.Random(seed)
    made: list[Canvas] = []
    monkeypatch.setattr(module, "check_canvas", lambda after, *_: made.append(after))
    state = document_of_any_client(rng)
    carried_out = 0
    for _ in range(40):
        tree = read(load(state))
        ids = [each.id for each in tree.walk()] or ["none"]
        operations = [random_operation(rng, ids) for _ in range(rng.randrange(1, 3))]
        operations.append({"op": "create", "tag": "rect"})
        try:
            changed = change_elements(state, json.dumps(operations).encode(), Limits())
        except SvgRefused:
            continue
        carried_out += 1
        state = merge_updates(state, changed.update)
        result = read(load(state))
        assert (result.attrs, result.children) == (made[-1].attrs, made[-1].children)
    assert carried_out
