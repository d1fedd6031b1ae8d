"""The content of a canvas as JSON: the models of the JSON export."""

from pydantic import ConfigDict

from svgx_common.contract.operation import ReplyModel


class CanvasElement(ReplyModel):
    """An element, or a text, which has the tag `#text`.

    `parent` is the id of another element, or empty for a child of the root. `order` is the element's fractional index
    among its siblings, in the format of the npm package `fractional-indexing`. `id` is unique in the canvas, and
    independent of the SVG attribute `id` in `attrs`. Only a text has `text`; its `attrs` are empty.
    """

    id: str
    tag: str
    parent: str
    order: str
    attrs: dict[str, str]
    text: str | None = None


class LeftOut(ReplyModel):
    """A kind of stored content that an export leaves out, with the reason and the number of occurrences."""

    what: str
    reason: str
    count: int


class CanvasContent(ReplyModel):
    """The JSON export of a canvas.

    `canvas` has the attributes of the root element. `elements` has all elements in the order of drawing: each element
    comes before its children. Siblings are sorted by `order`, and then by `id`, both by UTF-16 code units, as
    JavaScript compares strings. Two concurrent moves can make a cycle of parents. The element of the cycle with the
    smallest id then is a child of the root. An element is not in the export if its parent does not exist or is a text,
    and neither are its descendants.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "canvas": {"viewBox": "0 0 100 100"},
                    "elements": [
                        {
                            "id": "label",
                            "tag": "text",
                            "parent": "",
                            "order": "a0",
                            "attrs": {"x": "10", "y": "20", "fill": "teal"},
                        },
                        {
                            "id": "label-1",
                            "tag": "#text",
                            "parent": "label",
                            "order": "a0",
                            "attrs": {},
                            "text": "Hello",
                        },
                    ],
                    "left_out": [{"what": "image@href", "reason": "attribute_length", "count": 1}],
                }
            ]
        }
    )

    canvas: dict[str, str]
    elements: list[CanvasElement]
    left_out: list[LeftOut]
