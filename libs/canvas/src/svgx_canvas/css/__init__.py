"""CSS in style sheets, `style` attributes and presentation attributes.

`names` lists what is allowed, `values` judges values, `cleaning` cleans whole texts, and `costs` finds the parts that
make rendering expensive.
"""

from svgx_canvas.css.cleaning import clean_declarations, clean_stylesheet
from svgx_canvas.css.costs import (
    bitmap_pixels,
    declarations,
    selector_count,
    sheet_declarations,
)
from svgx_canvas.css.values import fragments, numbers, transform_is_safe, value_is_safe

__all__ = [
    "bitmap_pixels",
    "clean_declarations",
    "clean_stylesheet",
    "declarations",
    "fragments",
    "numbers",
    "selector_count",
    "sheet_declarations",
    "transform_is_safe",
    "value_is_safe",
]
