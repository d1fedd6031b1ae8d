"""Remove pictures that take their URL from a custom property, because the URL may be a reference.

`--a:url(#b)` is harmless in `fill:var(--a)`. In `background:var(--a)`, a browser takes the URL for a picture and
fetches the document itself again. The two declarations can be in different style sheets and elements of a canvas.
"""

from collections.abc import Callable

from svgx_canvas import css
from svgx_canvas.tree import Canvas, Element


def remove_variable_pictures(canvas: Canvas, report: Callable[[str, str], None]) -> None:
    """Remove the pictures that take their URL from a function such as `var()`, if a custom property has a reference.

    `canvas` has been cleaned already.
    """
    elements = [Element("", "svg", attrs=canvas.attrs), *canvas.walk()]
    if not any(map(_has_fragment_in_custom_property, elements)):
        return
    for element in elements:
        if element.tag == "style":
            for child in element.children:
                child.text = css.without_variable_pictures(child.text, report, sheet=True)
        for name, value in list(element.attrs.items()):
            if name == "style":
                cleaned = css.without_variable_pictures(value, report, sheet=False)
                element.attrs[name] = cleaned
            elif css.picture_is_variable(name, value):
                report(f"{element.tag}@{name}", "reference")
                del element.attrs[name]


def _has_fragment_in_custom_property(element: Element) -> bool:
    if css.style_has_fragment_in_custom_property(element.attrs.get("style", "")):
        return True
    if element.tag != "style":
        return False
    return any(css.sheet_has_fragment_in_custom_property(child.text) for child in element.children)
