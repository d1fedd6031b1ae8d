"""The refusals of changes of elements."""

import json
from typing import Any

import pytest
from pycrdt import Map

from svgx_canvas import Limits, SvgRefused, change_elements
from svgx_canvas.document.element_tree import load
from tests.unit.canvas.client_documents import document

CANVAS = document(
    {
        "group": {"tag": "g", "parent": "", "order": "a0", "attrs": {}},
        "inner": {"tag": "g", "parent": "group", "order": "a0", "attrs": {}},
        "wall": {"tag": "rect", "parent": "inner", "order": "a0", "attrs": {"width": "5"}},
        "label": {"tag": "text", "parent": "", "order": "a1", "attrs": {}},
        "words": {"tag": "#text", "parent": "label", "order": "a0", "text": "hello"},
        "sheet": {"tag": "style", "parent": "", "order": "a2", "attrs": {}},
        "rules": {"tag": "#text", "parent": "sheet", "order": "a0", "text": "rect{fill:red}"},
        "code": {"tag": "script", "parent": "", "order": "a3", "attrs": {}},
        "orphan": {"tag": "rect", "parent": "gone", "order": "a0", "attrs": {}},
        "motion": {
            "tag": "animate",
            "parent": "wall",
            "order": "a0",
            "attrs": {"attributeName": "width", "to": "9"},
        },
    }
)

LIMITS = Limits(depth=5, attributes=3, elements=12, style_length=60, expanded_elements=20)


def create(tag: str = "rect", **fields: object) -> dict[str, object]:
    """Return an operation that creates an element."""
    return {"op": "create", "tag": tag, **fields}


def update(identifier: str, **fields: object) -> dict[str, object]:
    """Return an operation that updates an element."""
    return {"op": "update", "id": identifier, **fields}


def move(identifier: str, **fields: object) -> dict[str, object]:
    """Return an operation that moves an element."""
    return {"op": "move", "id": identifier, **fields}


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    # operation, code, field
    (update("none", attrs={}), "unknown", ".id"),
    (update("orphan", attrs={"x": "1"}), "unknown", ".id"),  # exports do not show it
    (move("none", parent="group"), "unknown", ".id"),
    (move("wall", parent="none"), "unknown", ".parent"),
    (move("wall", before="none"), "unknown", ".before"),
    ({"op": "delete", "id": "none"}, "unknown", ".id"),
    (create(parent="none"), "unknown", ".parent"),
    (create(after="none"), "unknown", ".after"),
    (create(id="wall"), "conflict", ".id"),
    (create(id="orphan"), "conflict", ".id"),
    (create(parent="group", before="wall"), "conflict", ".before"),
    (create(parent="", after="wall"), "conflict", ".after"),
    (move("group", parent="group"), "conflict", ".parent"),
    (move("group", parent="inner"), "conflict", ".parent"),
    (move("group", before="wall"), "conflict", ".before"),
    (move("wall", after="wall"), "conflict", ".after"),
    (create("script"), "forbidden", ".tag"),
    (create("foreignObject"), "forbidden", ".tag"),
    (update("code", attrs={"id": "x"}), "forbidden", ".tag"),
    (create(parent="code"), "forbidden", ".parent"),
    (create(parent="words"), "forbidden", ".parent"),
    (create(parent="sheet"), "forbidden", ".parent"),
    (move("wall", parent="sheet"), "forbidden", ".parent"),
    (move("words", parent="group"), "forbidden", ".parent"),
    (create("#text", parent="group", text="x"), "forbidden", ".parent"),
    (create(attrs={"onclick": "x()"}), "forbidden", ".attrs.onclick"),
    (update("wall", attrs={"x": "1", "nonsense": "1"}), "forbidden", ".attrs.nonsense"),
    (update("wall", attrs={"fill": "url(https://x/)"}), "forbidden", ".attrs.fill"),
    (update("wall", attrs={"style": "position:fixed"}), "forbidden", ".attrs.style"),
    (update("", attrs={"onload": "x()"}), "forbidden", ".attrs.onload"),
    (create("image", attrs={"href": "https://x/"}), "forbidden", ".attrs.href"),
    (create("image", attrs={"href": "data:image/png;base64,AAAA"}), "forbidden", ".attrs.href"),
    (create("use", attrs={"href": "other.svg#x"}), "forbidden", ".attrs.href"),
    (create("set", attrs={"attributeName": "href"}), "forbidden", ".attrs.attributeName"),
    (update("motion", attrs={"attributeName": "href"}), "forbidden", ".attrs.attributeName"),
    (update("motion", attrs={"to": "url(https://x/)"}), "forbidden", ".attrs.to"),
    (update("motion", attrs={"attributeName": None}), "forbidden", ".attrs.attributeName"),
    (update("rules", text="@import 'x.css';"), "forbidden", ".text"),
    (create("#text", parent="label", attrs={"x": "1"}), "malformed", ".attrs"),
    (update("words", attrs={"x": None}), "malformed", ".attrs"),
    (update("wall", text="x"), "malformed", ".text"),
    (create(text="x"), "malformed", ".text"),
    (update("", text="x"), "malformed", ".text"),
    (create(attrs={"x": "1", "y": "1", "rx": "1", "ry": "1"}), "too_large", ".attrs"),
    (update("wall", attrs={"x": "1", "y": "1", "rx": "1"}), "too_large", ".attrs"),
]
"""Operations that the canvas refuses, with the code and the field."""


@pytest.mark.parametrize(("operation", "code", "field"), REFUSALS)
def test_operation_that_cannot_be_carried_out_is_refused_with_its_field(
    operation: dict[str, Any], code: str, field: str
) -> None:
    """The field names the number of the operation. Proves R-ELEMENT-1 and R-ELEMENT-2."""
    first = {"op": "create", "tag": "rect"}
    with pytest.raises(SvgRefused) as refused:
        change_elements(CANVAS, json.dumps([first, operation]).encode(), LIMITS)
    assert (refused.value.code, refused.value.field) == (code, f"operations[1]{field}")
    assert refused.value.detail


def test_unknown_id_names_the_element_with_this_svg_id() -> None:
    """The refusal helps a caller that takes the attribute `id` of an imported file for the element's id.

    Proves R-ELEMENT-1.
    """
    operations = [update("wall", attrs={"id": "roof"}), update("roof", attrs={"x": "1"})]
    with pytest.raises(SvgRefused) as refused:
        change_elements(CANVAS, json.dumps(operations).encode(), LIMITS)
    detail = "there is no element 'roof'; the element with the SVG id 'roof' is 'wall'"
    assert refused.value.detail == f"operations[1].id: {detail}"


BEYOND_LIMITS: list[tuple[list[dict[str, Any]], str, int | None]] = [
    # operations, part of the detail, limit
    ([create() for _ in range(12)], "elements", 12),
    (
        [create("g", id="a", parent="inner"), create("g", id="b", parent="a"), create(parent="b")],
        "depth",
        5,
    ),
    ([move("group", parent="label"), create(parent="wall")], "depth", 5),
    (
        [create("style", id="more"), create("#text", parent="more", text="g{fill:red}" * 5)],
        "style_length",
        60,
    ),
    (
        [update("group", attrs={"id": "g1"}), *[create("use", attrs={"href": "#g1"})] * 3],
        "expanded_elements",
        20,
    ),
    (
        [
            create("image", attrs={"style": "background-image:var(--a)"}),
            update("wall", attrs={"style": "--a:url(#b)"}),
        ],
        "reference",
        None,
    ),
]
"""Operations after which the canvas as a whole is beyond a limit, or an export would leave out more than before."""


@pytest.mark.parametrize(("operations", "detail", "limit"), BEYOND_LIMITS)
def test_changes_beyond_a_limit_of_the_canvas_are_refused_with_the_limit(
    operations: list[dict[str, Any]], detail: str, limit: int | None
) -> None:
    """Proves R-ELEMENT-2."""
    with pytest.raises(SvgRefused) as refused:
        change_elements(CANVAS, json.dumps(operations).encode(), LIMITS)
    assert refused.value.field == "operations"
    assert detail in refused.value.detail
    assert refused.value.limit == limit


def test_canvas_that_is_beyond_a_limit_accepts_changes() -> None:
    """Yjs clients can bring a canvas beyond a limit, and a change must be able to correct it. Proves R-ELEMENT-2."""
    limits = Limits(elements=3)
    for operation in (update("wall", attrs={"x": "1"}), {"op": "delete", "id": "group"}):
        assert change_elements(CANVAS, json.dumps([operation]).encode(), limits).update


@pytest.mark.parametrize("attrs", [{"x": None}, {"x": "5"}])
def test_element_with_too_many_attributes_accepts_a_change_that_adds_none(
    attrs: dict[str, str | None],
) -> None:
    """Yjs clients can bring an element beyond the limit. Proves R-ELEMENT-2."""
    values = dict.fromkeys(("x", "y", "width", "height"), "1")
    state = document({"wall": {"tag": "rect", "order": "a0", "attrs": values}})
    limits = Limits(attributes=2)
    assert change_elements(state, json.dumps([update("wall", attrs=attrs)]).encode(), limits).update
    with pytest.raises(SvgRefused) as refused:
        change_elements(state, json.dumps([update("wall", attrs={"fill": "red"})]).encode(), limits)
    assert (refused.value.field, refused.value.limit) == ("operations[0].attrs", 2)


def test_canvas_that_is_beyond_two_limits_accepts_a_change_that_corrects_one() -> None:
    """Proves R-ELEMENT-2."""
    group = {"tag": "g", "attrs": {"opacity": "0.5"}, "order": "a"}
    groups = {f"g{n}": {**group, "parent": f"g{n - 1}" if n else ""} for n in range(8)}
    limits = Limits(expanded_depth=7, layers=5)
    moves = [{"op": "move", "id": each, "parent": ""} for each in ("g7", "g6")]
    assert change_elements(document(groups), json.dumps(moves).encode(), limits).update


def test_element_that_an_export_leaves_out_can_be_deleted() -> None:
    """Proves R-ELEMENT-2."""
    changed = change_elements(CANVAS, b'[{"op":"delete","id":"code"}]')
    elements = load(CANVAS, changed.update).get("elements", type=Map)
    assert "code" not in elements
