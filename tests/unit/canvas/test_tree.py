"""Flat elements make the same tree on each replica. Proves R-SVG-5."""

import random

from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map

from svgx_canvas.document.element_tree import read
from svgx_canvas.tree import Canvas, Element, build_tree


def shape(canvas: Canvas) -> list[tuple[str, str]]:
    """Return the ids in document order, each with the id of its parent in the tree."""
    return [(element.id, element.parent) for element in canvas.walk()]


# Flat elements by id, each with its parent's id and its order.
_FLAT = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.sampled_from(["", *"abcdefgh", "gone"]), st.sampled_from(["a0", "a1", "Zz"])),
)


@given(_FLAT, st.randoms())
def test_tree_does_not_depend_on_the_order_of_arrival(
    flat: dict[str, tuple[str, str]], rng: random.Random
) -> None:
    def elements() -> list[Element]:
        return [Element(key, "g", parent, order) for key, (parent, order) in flat.items()]

    shuffled = elements()
    rng.shuffle(shuffled)
    one, other = build_tree({}, elements()), build_tree({}, shuffled)
    assert shape(one) == shape(other)
    shown = [element.id for element in one.walk()]
    assert len(shown) == len(set(shown))
    # Elements with a missing ancestor are hidden. All others are shown, also those in cycles.
    assert set(shown) == {key for key in flat if not _has_missing_ancestor(key, flat)}


def _has_missing_ancestor(key: str, flat: dict[str, tuple[str, str]]) -> bool:
    seen = set()
    while key and key not in seen:
        seen.add(key)
        if key not in flat:
            return True
        key = flat[key][0]
    return False


def test_siblings_are_sorted_by_order_and_then_by_id() -> None:
    canvas = build_tree(
        {},
        [
            Element("b", "g", order="a1"),
            Element("a", "g", order="a1"),
            Element("c", "g", order="a0"),
        ],
    )
    assert [element.id for element in canvas.children] == ["c", "a", "b"]


def test_ids_are_compared_by_utf_16_code_units() -> None:
    """JavaScript compares strings by code units: U+1F600 starts with the surrogate D83D, which is below U+FF5E."""
    canvas = build_tree({}, [Element("～", "g"), Element("😀", "g")])
    assert [element.id for element in canvas.children] == ["😀", "～"]


def test_cycle_is_cut_at_its_smallest_id() -> None:
    ring = [
        Element("c", "g", "a"),
        Element("a", "g", "b"),
        Element("b", "g", "c"),
        Element("d", "g", "b"),
    ]
    assert shape(build_tree({}, ring)) == [("a", ""), ("c", "a"), ("b", "c"), ("d", "b")]
    assert shape(build_tree({}, [Element("a", "g", "a")])) == [("a", "")]
    astral = [Element("～", "g", "😀"), Element("😀", "g", "～")]
    assert shape(build_tree({}, astral)) == [("😀", ""), ("～", "😀")]


def test_orphans_and_children_of_text_are_hidden_with_their_descendants() -> None:
    flat = [
        Element("a", "g", "gone"),
        Element("b", "g", "a"),
        Element("t", "#text"),
        Element("c", "g", "t"),
    ]
    assert shape(build_tree({}, flat)) == [("t", "")]


def test_cycle_of_two_concurrent_moves_reads_the_same_on_all_replicas() -> None:
    one: Doc[Map[object]] = Doc(client_id=1)
    with one.transaction():
        elements = one.get("elements", type=Map)
        for key in ("x", "y", "z"):
            elements[key] = Map({"tag": "g", "parent": "", "order": "a0", "attrs": Map({})})
    other: Doc[Map[object]] = Doc(client_id=2)
    other.apply_update(one.get_update())
    _move(one, "x", "y")
    _move(other, "y", "x")
    to_other, to_one = one.get_update(), other.get_update()
    other.apply_update(to_other)
    one.apply_update(to_one)
    late: Doc[Map[object]] = Doc()
    late.apply_update(to_one)
    late.apply_update(to_other)
    expected = [("x", ""), ("y", "x"), ("z", "")]
    assert shape(read(one)) == shape(read(other)) == shape(read(late)) == expected


def _move(doc: Doc[Map[object]], key: str, parent: str) -> None:
    element = doc.get("elements", type=Map)[key]
    assert isinstance(element, Map)
    element["parent"] = parent
