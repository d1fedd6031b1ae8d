"""CSS in style sheets, `style` attributes and presentation attributes.

`names` has the lists of allowed names. `tokens` reads tokens, `structure` finds rules and declarations, `values` checks
values, `resources` checks `data:` URLs, `cleaning` cleans whole texts, and `costs` finds the parts that make rendering
expensive. `resvg_reading` reads CSS as resvg does.
"""

from svgx_canvas.css.cleaning import (
    clean_declarations,
    clean_stylesheet,
    without_bitmaps,
    without_variable_pictures,
)
from svgx_canvas.css.costs import (
    Key,
    bitmap_pixels,
    declarations,
    selector_count,
    sheet_declarations,
    sheet_has_fragment_in_custom_property,
    style_has_fragment_in_custom_property,
)
from svgx_canvas.css.resvg_reading import class_names, filter_functions, href_ids
from svgx_canvas.css.values import (
    MAX_NUMBER,
    numbers,
    pair,
    picture_is_variable,
    transform_is_safe,
    value_ids,
    value_is_safe,
    value_urls,
)

__all__ = [
    "MAX_NUMBER",
    "Key",
    "bitmap_pixels",
    "class_names",
    "clean_declarations",
    "clean_stylesheet",
    "declarations",
    "filter_functions",
    "href_ids",
    "numbers",
    "pair",
    "picture_is_variable",
    "selector_count",
    "sheet_declarations",
    "sheet_has_fragment_in_custom_property",
    "style_has_fragment_in_custom_property",
    "transform_is_safe",
    "value_ids",
    "value_is_safe",
    "value_urls",
    "without_bitmaps",
    "without_variable_pictures",
]
