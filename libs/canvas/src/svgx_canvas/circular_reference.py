"""A reference that closes a circle of references, such as the mask of an element in the same mask."""

from dataclasses import dataclass

from svgx_canvas.tree import Element

HREF = "href"
"""The kind of a reference in the attribute `href` or `xlink:href`."""


@dataclass(frozen=True, slots=True)
class CircularReference:
    """A reference from an element that leads back to this element. `kind` is the name of a property, or `HREF`."""

    element: Element
    kind: str

    def remove(self) -> None:
        """Remove the reference from the element. An important declaration of a style sheet stays in force in resvg."""
        attrs = self.element.attrs
        if self.kind == HREF:
            attrs.pop("href", None)
            attrs.pop("xlink:href", None)
        else:
            attrs.pop(self.kind, None)
            # In resvg, the first important declaration wins. A browser would take the last one.
            attrs["style"] = f"{self.kind}:none!important;{attrs.get('style', '')}"
