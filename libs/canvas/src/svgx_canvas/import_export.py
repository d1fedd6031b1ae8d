"""Import SVG files into a document, and export a document as SVG or JSON."""

import json
from dataclasses import dataclass

from svgx_canvas import complexity
from svgx_canvas.document.element_tree import load, read, replace
from svgx_canvas.images.left_out import leave_out_largest, pictures_length
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, SvgRefused, check_limit
from svgx_canvas.policy import Dropped, Report, clean
from svgx_canvas.svg_reader import picture_cleaner, read_svg
from svgx_canvas.svg_writer import write_svg
from svgx_canvas.tree import TEXT, Canvas, Element


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import."""

    update: bytes
    """The Yjs v1 update that replaces the document's content by the file."""
    elements: int
    """The number of imported elements, texts included."""
    dropped: list[Dropped]
    """Everything that the SVG policy removed from the file."""


def import_svg(
    svg: bytes,
    current: bytes | None,
    limits: Limits = DEFAULT_LIMITS,
    *,
    charset: str | None = None,
) -> Imported:
    """Read an SVG file as the new content of a document.

    `current` is the document's state (Yjs v1 update), or None for an empty document. `charset` is the encoding that
    the sender states for the file. Raises `SvgRefused`.
    """
    report = Report()
    canvas = read_svg(svg, limits, report, charset)
    complexity.check(canvas, limits)
    update, count = replace(current, canvas)
    return Imported(update, count, report.dropped())


def export_svg(
    state: bytes, limits: Limits = DEFAULT_LIMITS, report: Report | None = None
) -> bytes:
    """Return the document with this state (Yjs v1 update) as SVG text in UTF-8. Raises `SvgRefused`.

    `report` gets everything that is stored but left out of the file. If the file has more bytes than the limit, its
    largest pictures are left out.
    """
    report = report or Report()
    canvas = _load_clean(state, limits, report)
    _leave_out_bytes(canvas, pictures_length(canvas) - limits.export_bytes, report)
    _limit_cost(canvas, limits, report)
    svg = write_svg(canvas)
    if len(svg) > limits.export_bytes:
        _leave_out_bytes(canvas, len(svg) - limits.export_bytes, report)
        svg = write_svg(canvas)
    check_limit("bytes", limits.export_bytes, len(svg), "bytes of the file")
    return svg


def export_json(
    state: bytes, limits: Limits = DEFAULT_LIMITS, report: Report | None = None
) -> bytes:
    """Return the document with this state (Yjs v1 update) as JSON in UTF-8. Raises `SvgRefused`.

    The JSON is {"canvas": {name: value}, "elements": [{"id", "tag", "parent", "order", "attrs", and "text" for
    character data}], "left_out": [{"what", "reason", "count"}]}, with the elements in document order. `left_out` has
    everything that is stored but not in `canvas` or `elements`; `report` gets the same entries.
    """
    report = report or Report()
    canvas = _load_clean(state, limits, report)
    _limit_cost(canvas, limits, report)
    elements = [_json(element) for element in canvas.walk()]
    left_out = [
        {"what": item.what, "reason": item.reason, "count": item.count} for item in report.dropped()
    ]
    content = {"canvas": canvas.attrs, "elements": elements, "left_out": left_out}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _load_clean(state: bytes, limits: Limits, report: Report) -> Canvas:
    pictures = picture_cleaner(limits, report, strict=False)
    return clean(read(load(state), report.add), limits, report, pictures)


def _leave_out_bytes(canvas: Canvas, excess: int, report: Report) -> None:
    leave_out_largest(canvas, excess, len, lambda what: report.add(what, "bytes"))


def _limit_cost(canvas: Canvas, limits: Limits, report: Report) -> None:
    """Leave out the largest pictures of a canvas if its pictures together have more pixels than `image_pixels` allows.

    Raise `SvgRefused` if the canvas is still too costly to draw, or is beyond another limit.
    """
    try:
        complexity.check(canvas, limits)
    except SvgRefused as refused:
        if refused.field != "image_pixels" or refused.limit is None or refused.actual is None:
            raise
        excess = int(refused.actual - refused.limit)
        leave_out_largest(
            canvas,
            excess,
            lambda url: complexity.picture_pixels(url, limits),
            lambda what: report.add(what, "image_pixels"),
        )
        complexity.check(canvas, limits)


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
