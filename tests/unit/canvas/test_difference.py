"""The difference between two states, as changes of elements. Proves R-HIST-14."""

import json
from typing import Any

import pytest

from svgx_canvas import SvgRefused, difference
from tests.unit.canvas.client_documents import document

RECT = {"tag": "rect", "parent": "", "order": "a0", "attrs": {"width": "5", "fill": "red"}}


def page(before: Any, after: Any, start: int = 0, limit: int = 100, **roots: Any) -> dict[str, Any]:
    """Return a page of the difference between two documents with these elements.

    `roots` may have `old` and `new`: the root's attributes in the two documents.
    """
    old = document(before, roots.get("old"))
    new = document(after, roots.get("new"))
    found: dict[str, Any] = json.loads(difference(old, new, start, limit))
    return found


def pair(before: str | None, after: str | None, *, cut: bool = False) -> dict[str, object]:
    """Return the pair that a difference contains for one changed value."""
    return {"before": before, "after": after, "cut": cut}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"order": "a5"}, {"change": "moved", "order": pair("a0", "a5")}),
        ({"parent": "g"}, {"change": "moved", "parent": pair("", "g")}),
        (
            {"attrs": {"width": "7", "height": "1"}},
            {
                "change": "changed",
                "attrs": {
                    "fill": pair("red", None),
                    "height": pair(None, "1"),
                    "width": pair("5", "7"),
                },
            },
        ),
        (
            {"attrs": {"width": "5", "fill": "blue"}, "order": "b00"},
            {
                "change": "changed",
                "attrs": {"fill": pair("red", "blue")},
                "order": pair("a0", "b00"),
            },
        ),
        (
            {"tag": "circle", "attrs": {}},
            {
                "change": "changed",
                "tag": pair("rect", "circle"),
                "attrs": {"fill": pair("red", None), "width": pair("5", None)},
            },
        ),
    ],
)
def test_change_of_an_element_names_the_values_before_and_after(
    change: dict[str, Any], expected: dict[str, Any]
) -> None:
    """A change has the tag, and those other values that differ."""
    group = {"tag": "g", "parent": "", "order": "a9", "attrs": {}}
    found = page({"e": RECT, "g": group}, {"e": {**RECT, **change}, "g": group})
    unchanged: dict[str, Any] = {
        "parent": None,
        "order": None,
        "attrs": {},
        "more_attrs": 0,
        "text": None,
    }
    assert found["items"] == [{"id": "e", "tag": pair("rect", "rect"), **unchanged, **expected}]
    kind = expected["change"]
    assert {name: found[name] for name in ("added", "removed", "changed", "moved")} == {
        **dict.fromkeys(("added", "removed", "changed", "moved"), 0),
        kind: 1,
    }


def test_added_and_removed_elements_show_all_their_values() -> None:
    """In a pair, a missing value is null, and an empty text is an empty string."""
    shared = {"x": {"tag": "text", "parent": "", "order": "a9", "attrs": {}}}
    empty = {"tag": "#text", "parent": "x", "order": "a1", "text": ""}
    words = {**empty, "text": "hi"}
    found = page(
        {**shared, "a": RECT, "t": words, "u": empty},
        {**shared, "b": RECT, "t": empty, "u": words},
    )
    by_id = {item["id"]: item for item in found["items"]}
    assert (found["added"], found["removed"], found["changed"]) == (1, 1, 2)
    assert by_id["a"]["change"] == "removed"
    assert by_id["a"]["attrs"]["width"] == pair("5", None)
    assert by_id["b"]["parent"] == pair(None, "")
    assert by_id["t"]["text"] == pair("hi", "")
    assert by_id["u"]["text"] == pair("", "hi")


def test_attributes_of_the_root_are_compared() -> None:
    """The root's changed attributes are in `canvas`, and not in the list of changed elements."""
    found = page({}, {}, old={"width": "5", "height": "1"}, new={"width": "6", "height": "1"})
    assert found["canvas"] == {"width": pair("5", "6")}
    assert found["items"] == []


def test_difference_shows_only_content_that_the_policy_permits() -> None:
    """A difference leaves out a script and an event handler that a client wrote, as exports do."""
    hostile = {"tag": "script", "parent": "", "order": "a0", "attrs": {}}
    event = {**RECT, "attrs": {"onload": "alert(1)"}}
    found = page({"e": {**RECT, "attrs": {}}}, {"e": event, "s": hostile})
    assert found["items"] == []


def test_long_texts_and_many_attributes_are_cut() -> None:
    """Two long texts that differ only after the cut are listed as changed. Attributes that are left out are counted."""
    attrs = {f"data-{number:03}": "x" for number in range(80)}
    shared = {"x": {"tag": "text", "parent": "", "order": "a9", "attrs": {}}}
    long = {"tag": "#text", "parent": "x", "order": "a0", "text": "y" * 5000}
    found = page(
        {**shared, "e": {**RECT, "attrs": {}}, "t": long},
        {**shared, "e": {**RECT, "attrs": attrs}, "t": {**long, "text": "y" * 5000 + "z"}},
    )
    element, words = found["items"]
    assert (len(element["attrs"]), element["more_attrs"]) == (50, 30)
    assert words["text"] == pair("y" * 1000, "y" * 1000, cut=True)
    root = page({}, {}, new=attrs)
    assert (len(root["canvas"]), root["more_canvas"]) == (50, 30)


def test_pages_have_each_change_once() -> None:
    """The changes are sorted by the ids of the elements across all pages. A page with long changes ends early."""
    many = {f"e{number:02}": RECT for number in range(25)}
    parts = [page({}, many, start, 10) for start in (0, 10, 20)]
    assert [part["next"] for part in parts] == [10, 20, None]
    assert [item["id"] for part in parts for item in part["items"]] == sorted(many)
    assert {part["added"] for part in parts} == {25}
    large = {
        f"e{number:03}": {**RECT, "attrs": {f"data-{name}": "y" * 1000 for name in range(50)}}
        for number in range(60)
    }
    part = page({}, large, 0, 100)
    assert 0 < len(part["items"]) < 60
    assert part["next"] == len(part["items"])


def test_element_that_loses_its_parent_is_removed() -> None:
    """An element that no export shows counts as missing."""
    group = {"tag": "g", "parent": "", "order": "a0", "attrs": {}}
    child = {**RECT, "parent": "g"}
    found = page({"g": group, "e": child}, {"e": child})
    assert [(item["id"], item["change"]) for item in found["items"]] == [
        ("e", "removed"),
        ("g", "removed"),
    ]


def test_malformed_state_is_refused() -> None:
    with pytest.raises(SvgRefused):
        difference(b"hello", b"\x00\x00", 0, 10)
