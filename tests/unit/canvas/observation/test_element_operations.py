"""The operations for changed elements pass the SVG policy, and name the elements that appear with them."""

import json
from typing import Any

import pytest
from pycrdt import Map

from svgx_canvas.document.element_tree import read_element
from svgx_canvas.import_export import export_json, import_svg
from svgx_canvas.observation import element_operations, observed_elements
from svgx_canvas.observation.changed_elements import MAX_CHANGED
from svgx_canvas.observation.element_operations import MAX_CHARACTERS
from svgx_canvas.observation.known_elements import KnownElements
from svgx_canvas.observation.observed_elements import EVERYTHING
from svgx_canvas.tree import Element
from tests.unit.canvas.observation.observed_document import (
    ObservedDocument,
    delete,
    element,
    put,
)

PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.mark.parametrize(
    ("stored", "described"),
    [
        (element(onclick="f()", x="1"), put("a", x="1")),
        (element(fill="url(http://x.org)", x="1"), put("a", x="1")),
        (element(style="fill:red;background:url(http://x.org)"), put("a", style="fill:red;")),
        (element("image", href="http://x.org/a.png"), put("a", "image")),
        (element("use", href="#b"), put("a", "use", href="#b")),
        (element("script"), delete("a")),
        (element("rect", parent="title"), delete("a")),
        (element("rect", parent="words"), delete("a")),
        (element("animate", attributeName="href"), delete("a")),
        (element("#text", parent="rect", text="b"), delete("a")),
        (element("#text", parent="missing", text="b"), delete("a")),
        (element("#text", parent="text", text="b\x00"), put("a", "#text", "text", text="b")),
        (element("#text", parent="link in text", text="b"), put("a", "#text", "link in text", "b")),
        (element("#text", parent="link", text="b"), delete("a")),
        (element("rect", parent="missing"), put("a", parent="missing")),
        ({"parent": ""}, delete("a")),
        (7, delete("a")),
    ],
)
def test_element_passes_the_policy(stored: object, described: dict[str, object]) -> None:
    """An element that the policy refuses in its place is described as deleted. Proves R-JSON-6."""
    document = ObservedDocument(
        {
            "title": element("title"),
            "rect": element(),
            "text": element("text"),
            "words": element("#text", "text"),
            "link": element("a"),
            "link in text": element("a", "text"),
        }
    )
    document.elements["a"] = stored
    assert document.operations() == [described]


@pytest.mark.parametrize(
    "stored",
    [
        element(d="x" * MAX_CHARACTERS),
        element("#text", parent="text", text="x" * (MAX_CHARACTERS + 1)),
        element("#text", parent="style", text="rect{fill:red}"),
        element("image", href=PICTURE),
        element("feImage", **{"xlink:href": PICTURE}),
        element(style="--a:url(#b)"),
        element(style="background:var(--a)"),
        element(cursor="var(--a)"),
    ],
)
def test_element_that_depends_on_others_or_takes_long_counts_as_everything(stored: object) -> None:
    """Clients then load the export, which a worker process makes. Proves R-JSON-7."""
    document = ObservedDocument({"text": element("text"), "style": element("style")})
    document.elements["a"] = stored
    document.elements["b"] = element()
    assert document.send() == EVERYTHING
    document.elements["b"] = element(x="1")
    assert document.operations() == [put("b", x="1")]


def test_removed_text_of_a_style_counts_as_everything() -> None:
    """The sheets of a style are cleaned together. Its other texts may change with them. Proves R-JSON-7."""
    sheet = element("#text", "s", text="a{}")
    document = ObservedDocument({"s": element("style"), "t": sheet, "u": sheet})
    del document.elements["t"]
    assert document.send() == EVERYTHING
    document.elements["u"]["parent"] = ""
    assert document.send() == EVERYTHING


@pytest.mark.parametrize("name", ["MAX_SECONDS", "MAX_JSON_CHARACTERS"])
def test_long_description_counts_as_everything(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A description takes neither much time nor much space. Proves R-JSON-7."""
    document = ObservedDocument()
    module = element_operations if name == "MAX_SECONDS" else observed_elements
    monkeypatch.setattr(module, name, 0)
    document.elements["a"] = element()
    assert document.send() == EVERYTHING


def test_description_that_takes_long_to_read_an_element_reads_no_further_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The elements that it has not read are known to later descriptions. Proves R-JSON-7."""
    document = ObservedDocument({f"e{number}": element("title") for number in range(50)})
    read: list[str] = []

    def read_slowly(elements: Map[Any], identifier: str) -> Element | None:
        read.append(identifier)
        return read_element(elements, identifier)

    with monkeypatch.context() as patch:
        patch.setattr(element_operations, "read_element", read_slowly)
        patch.setattr(element_operations, "MAX_SECONDS", 0)
        for number in range(50):
            document.elements[f"e{number}"]["tag"] = "g"
        assert document.send() == EVERYTHING
    assert len(read) == 1
    while document.server.has_changed_elements:
        assert document.send() in (None, EVERYTHING)
    for parent in ("e0", "e49"):
        document.elements["child"] = element("rect", parent)
        assert document.operations() == [put("child", "rect", parent)]


def test_operations_are_those_of_the_export() -> None:
    """The fields, values and orders of elements are equal to those of the JSON export. Proves R-JSON-6."""
    svg = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><g fill="red"><rect x="1"/>
        <text>one <tspan x="2">two</tspan> three</text></g><title>drawing</title></svg>"""
    update = import_svg(svg, None).update
    document = ObservedDocument()
    document.client.apply_update(update)
    exported = json.loads(export_json(update))
    described = document.operations()
    assert described[0] == {"op": "root", "attrs": exported["canvas"]}
    elements = sorted(exported["elements"], key=lambda each: str(each["id"]))
    assert described[1:] == [{"op": "put", **each} for each in elements]


def test_elements_in_a_restored_group_are_described() -> None:
    """They did not change, but clients have removed them with the group. Proves R-JSON-6."""
    elements = {"g": element("g"), "h": element("g", "g"), "a": element("rect", "h")}
    document = ObservedDocument({**elements, "b": element()})
    del document.elements["g"]
    assert document.operations() == [delete("g")]
    document.elements["g"] = element("g")
    expected = [put("a", "rect", "h"), put("g", "g"), put("h", "g", "g")]
    assert document.operations() == expected
    document.elements["g"] = element("g", x="1")
    assert document.operations() == [put("g", "g", x="1")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (element("g", "deleted"), element("g")),
        (element("g", "group in deleted"), element("g", "group")),
        (element("script"), element("g")),
        (element("g", "title"), element("g")),
        (element("set", attributeName="href"), element("set", attributeName="fill")),
    ],
)
def test_elements_in_an_element_that_appears_are_described(before: object, after: object) -> None:
    """The element moves out of a deleted group, or is no longer refused. Proves R-JSON-6."""
    others = {
        "group": element("g"),
        "group in deleted": element("g", "deleted"),
        "title": element("title"),
    }
    document = ObservedDocument({**others, "p": before, "c": element("rect", "p")})
    document.elements["p"] = after
    operations = document.operations()
    assert [(each["op"], each["id"]) for each in operations] == [("put", "c"), ("put", "p")]


def test_elements_in_an_element_that_becomes_a_title_are_deleted() -> None:
    """The tag of an element decides about the elements and texts in it. Proves R-JSON-6."""
    children = {"c": element("rect", "p"), "t": element("#text", "p", text="b")}
    document = ObservedDocument({"p": element("g"), **children})
    document.elements["p"]["tag"] = "title"
    assert document.operations() == [put("p", "title"), put("t", "#text", "p", "b"), delete("c")]


@pytest.mark.parametrize(("group", "label"), [("a", "b"), ("b", "a")])
def test_element_that_leaves_a_deleted_group_comes_before_the_deletion(
    group: str, label: str
) -> None:
    """Otherwise a client would delete the elements inside of it together with the group. Proves R-JSON-6."""
    elements = {group: element("g"), label: element("text", group)}
    document = ObservedDocument({**elements, "words": element("#text", label, text="one")})
    document.elements[label]["parent"] = ""
    del document.elements[group]
    assert document.operations() == [put(label, "text"), delete(group)]


def test_elements_are_read_again_after_a_change_of_everything() -> None:
    """The changed elements were not noted one by one. Proves R-JSON-6."""
    document = ObservedDocument({"p": element("g"), "c": element("rect", "p")})
    with document.client.transaction():
        del document.elements["p"]
        for number in range(MAX_CHANGED):
            document.elements[f"e{number}"] = element()
    assert document.send() == EVERYTHING
    document.elements["p"] = element("g")
    assert document.operations() == [put("c", "rect", "p"), put("p", "g")]


def test_moved_group_is_described_alone() -> None:
    """The elements in the group are shown before and after the move. Proves R-JSON-6."""
    groups = {"g": element("g"), "h": element("g"), "a": element("rect", "h")}
    document = ObservedDocument(groups)
    document.elements["h"]["parent"] = "g"
    assert document.operations() == [put("h", "g", "g")]


def test_parents_in_a_cycle_are_described_as_stored() -> None:
    """Only the export breaks a cycle. Proves R-JSON-6."""
    document = ObservedDocument({"g": element("g"), "h": element("g", "g")})
    document.elements["g"]["parent"] = "h"
    assert document.operations() == [put("g", "g", "h"), put("h", "g", "g")]


def test_many_elements_are_read_in_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that are made meanwhile count as everything. Proves R-JSON-7."""
    document = ObservedDocument({f"e{number:04}": element() for number in range(500)})
    document.server.stop_observing_elements()
    monkeypatch.setattr(observed_elements, "READING_SECONDS", 0.0)
    document.server.observe_elements()
    document.elements["e0000"]["attrs"]["x"] = "1"
    for number in range(400, 500):
        del document.elements[f"e{number:04}"]
    answers = [document.send()]
    while document.server.has_changed_elements:
        answers.append(document.send())
    assert answers == [None] * (len(answers) - 1) + [EVERYTHING]
    assert len(answers) > 3
    document.elements["e0000"]["attrs"]["x"] = "2"
    assert document.operations() == [put("e0000", x="2")]


def test_plain_elements_are_read_with_a_check_of_the_time_after_each() -> None:
    """A plain object is read with all its attributes, which can take milliseconds. Proves R-JSON-7."""
    document = ObservedDocument()
    for number in range(10):
        document.elements[f"e{number}"] = {"tag": "g"}
    known = KnownElements(document.client)
    calls = 0
    while not known.is_complete:
        known.read_on(0.0)
        calls += 1
    assert calls > 10


def test_known_elements_are_those_of_each_way_of_writing() -> None:
    """A client may write an element as a map or as a plain object, and leave out its parent. Proves R-JSON-6."""
    document = ObservedDocument({"a": element("g"), "b": {"tag": "g"}})
    document.elements["c"] = {"tag": "text", "parent": "a"}
    document.elements["d"] = Map({"tag": 7})
    known = KnownElements(document.client)
    known.read_on(1.0)
    parents = [known.surroundings(each).parent for each in "abcd"]
    assert (known.is_complete, parents) == (True, ["g", "g", "text", ""])
