"""Flat elements to a tree: the same one on every replica. Proves R-SVG-5."""

import random

from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map

from svgx_canvas.document.document import read
from svgx_canvas.tree import Canvas, Element, plant


def shape(canvas: Canvas) -> list[tuple[str, str]]:
    """Ids in document order, each with its parent's as it is shown."""
    return [(element.id, element.parent) for element in canvas.walk()]


_FLAT = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.sampled_from(["", *"abcdefgh", "gone"]), st.sampled_from(["a0", "a1", "Zz"])),
)


@given(_FLAT, st.randoms())
def test_the_tree_does_not_depend_on_the_order_of_arrival(
    flat: dict[str, tuple[str, str]], rng: random.Random
) -> None:
    def elements() -> list[Element]:
        return [Element(key, "g", parent, order) for key, (parent, order) in flat.items()]

    shuffled = elements()
    rng.shuffle(shuffled)
    one, other = plant({}, elements()), plant({}, shuffled)
    assert shape(one) == shape(other)
    shown = [element.id for element in one.walk()]
    assert len(shown) == len(set(shown))
    # What hangs on something missing is hidden; everything else is shown, cycles or not.
    assert set(shown) == {key for key in flat if not _hangs_on_nothing(key, flat)}


def _hangs_on_nothing(key: str, flat: dict[str, tuple[str, str]]) -> bool:
    seen = set()
    while key and key not in seen:
        seen.add(key)
        if key not in flat:
            return True
        key = flat[key][0]
    return False


def test_siblings_are_sorted_by_order_and_then_by_id() -> None:
    canvas = plant(
        {},
        [
            Element("b", "g", order="a1"),
            Element("a", "g", order="a1"),
            Element("c", "g", order="a0"),
        ],
    )
    assert [element.id for element in canvas.children] == ["c", "a", "b"]


def test_ids_tie_by_utf_16_code_units() -> None:
    """As JavaScript compares strings: U+1F600 starts with a surrogate, D83D, which is below FF5E."""
    canvas = plant({}, [Element("～", "g"), Element("😀", "g")])
    assert [element.id for element in canvas.children] == ["😀", "～"]


def test_a_cycle_is_cut_at_its_smallest_id() -> None:
    ring = [
        Element("c", "g", "a"),
        Element("a", "g", "b"),
        Element("b", "g", "c"),
        Element("d", "g", "b"),
    ]
    assert shape(plant({}, ring)) == [("a", ""), ("c", "a"), ("b", "c"), ("d", "b")]
    assert shape(plant({}, [Element("a", "g", "a")])) == [("a", "")]
    astral = [Element("～", "g", "😀"), Element("😀", "g", "～")]
    assert shape(plant({}, astral)) == [("😀", ""), ("～", "😀")]


def test_orphans_and_children_of_text_are_hidden_with_all_they_hold() -> None:
    flat = [
        Element("a", "g", "gone"),
        Element("b", "g", "a"),
        Element("t", "#text"),
        Element("c", "g", "t"),
    ]
    assert shape(plant({}, flat)) == [("t", "")]


def test_a_cycle_of_two_concurrent_moves_reads_the_same_on_both_sides() -> None:
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
