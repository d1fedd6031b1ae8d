"""What comes in from files and goes out to them."""

import json
from dataclasses import dataclass

from svgx_canvas import complexity
from svgx_canvas.document.document import load, read, replace
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, require
from svgx_canvas.policy import Dropped, Report, clean
from svgx_canvas.svg_reader import read_svg
from svgx_canvas.svg_writer import write_svg
from svgx_canvas.tree import TEXT, Canvas, Element


@dataclass(frozen=True, slots=True)
class Imported:
    """update: a Yjs v1 update that makes the file the document's content. elements: how many that are, texts
    included. dropped: what the policy left out."""

    update: bytes
    elements: int
    dropped: list[Dropped]


def import_svg(svg: bytes, current: bytes | None, limits: Limits = DEFAULT_LIMITS) -> Imported:
    """Read an SVG file as the new content of the document whose state (Yjs v1 update) is `current`, if it has any.

    Raises `SvgRefused`.
    """
    report = Report()
    canvas = read_svg(svg, limits, report)
    complexity.check(canvas, limits)
    update, count = replace(current, canvas)
    return Imported(update, count, report.dropped())


def export_svg(state: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The document with this state (Yjs v1 update) as SVG text in UTF-8. Raises `SvgRefused`."""
    svg = write_svg(_cleaned(state, limits))
    require("bytes", limits.bytes, len(svg), "bytes of the file")
    return svg


def export_json(state: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The same as JSON: {"canvas": {name: value}, "elements": [{"id", "tag", "parent", "order", "attrs" or "text"}]},
    the elements in document order. Raises `SvgRefused`."""
    canvas = _cleaned(state, limits)
    elements = [_json(element) for element in canvas.walk()]
    content = {"canvas": canvas.attrs, "elements": elements}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _cleaned(state: bytes, limits: Limits) -> Canvas:
    canvas = clean(read(load(state)), limits, Report())
    complexity.check(canvas, limits)
    return canvas


def _json(element: Element) -> dict[str, object]:
    common: dict[str, object] = {
        "id": element.id,
        "tag": element.tag,
        "parent": element.parent,
        "order": element.order,
    }
    if element.tag == TEXT:
        return {**common, "attrs": {}, "text": element.text}
    return {**common, "attrs": element.attrs}
