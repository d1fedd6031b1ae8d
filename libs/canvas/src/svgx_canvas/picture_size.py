"""The size in pixels of the picture that a canvas is rendered to."""

import math
import re

from svgx_canvas import css
from svgx_canvas.tree import Canvas

_LENGTH = re.compile(
    r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*(px|pt|pc|mm|cm|in|em|ex|%|)\s*"
)
_PIXELS = {
    "": 1.0,
    "px": 1.0,
    "pt": 96 / 72,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    # For the default font size, 16 px. The root's own font size is ignored, because sizes in em are rare.
    "em": 16.0,
    "ex": 8.0,
}
"""CSS pixels per unit, at 96 dpi (CSS Values and Units 4, section 6.2)."""


def natural_size(canvas: Canvas) -> tuple[float, float] | None:
    """Return width and height in pixels from the root's attributes, as resvg computes them.

    Percentages refer to the view box. If only one side is given, the other one follows the proportions of the view box.
    Return None if the attributes give no size; resvg then takes the size of the drawn content.
    """
    box = view_box(canvas)
    width = length(canvas.attrs.get("width", ""), box[0] if box else None)
    height = length(canvas.attrs.get("height", ""), box[1] if box else None)
    if width is not None and height is not None:
        return width, height
    if box is None:
        return None
    if width is not None:
        return width, width * box[1] / box[0]
    if height is not None:
        return height * box[0] / box[1], height
    return box


def view_box(canvas: Canvas) -> tuple[float, float] | None:
    """Return width and height of the root's view box, or None if it is missing or invalid."""
    numbers = css.numbers(canvas.attrs.get("viewBox", "")[:200])
    if len(numbers) != 4 or not (numbers[2] > 0 and numbers[3] > 0):
        return None
    return numbers[2], numbers[3]


def length(text: str, whole: float | None) -> float | None:
    """Return a positive length in pixels, or None for any other text. `whole` is the length of 100 percent."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        return None
    number, unit = float(match.group(1)), match.group(2)
    if unit == "%":
        if whole is None:
            return None
        number *= whole / 100
    else:
        number *= _PIXELS[unit]
    return number if number > 0 and math.isfinite(number) else None
