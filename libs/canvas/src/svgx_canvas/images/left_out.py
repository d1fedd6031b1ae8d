"""Leave pictures out of a canvas that is beyond a limit, so that the rest of the canvas can be exported."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from svgx_canvas import css
from svgx_canvas.allow_list import IMAGE_ELEMENTS, PRESENTATION_ATTRIBUTES, REFERENCES
from svgx_canvas.images.data_url import is_data_url
from svgx_canvas.tree import Canvas, Element

_Size = Callable[[str], int]
"""A function that returns the size of the picture in a `data:` URL."""


@dataclass(frozen=True, slots=True)
class _Attribute:
    """An attribute with pictures: a reference, or a presentation attribute."""

    element: Element
    name: str
    urls: list[str]

    def sizes(self, size: _Size) -> list[int]:
        """Return the size of all pictures in the attribute, as a list of one number."""
        return [sum(map(size, self.urls))]

    def remove(self, _: set[int], report: Callable[[str], None]) -> None:
        """Remove the attribute."""
        del self.element.attrs[self.name]
        report(f"{self.element.tag}@{self.name}")


@dataclass(frozen=True, slots=True)
class _CssText:
    """The `style` attribute of an element, or the text of a style sheet."""

    element: Element
    """The element with the attribute, or the text in the `style` element."""
    sheet: bool

    def sizes(self, size: _Size) -> list[int]:
        """Return the size of the bitmaps in each declaration with bitmaps."""
        sizes: list[int] = []

        def keeps(urls: list[str]) -> bool:
            sizes.append(sum(map(size, urls)))
            return True

        css.without_bitmaps(self._text, keeps, lambda _: None, sheet=self.sheet)
        return sizes

    def remove(self, indexes: set[int], report: Callable[[str], None]) -> None:
        """Remove some of the declarations with bitmaps. `indexes` has their indexes in the result of `sizes`."""
        index = count()
        text = css.without_bitmaps(
            self._text, lambda _: next(index) not in indexes, report, sheet=self.sheet
        )
        if self.sheet:
            self.element.text = text
        else:
            self.element.attrs["style"] = text

    @property
    def _text(self) -> str:
        return self.element.text if self.sheet else self.element.attrs["style"]


def leave_out_largest(
    canvas: Canvas, excess: int, size: _Size, report: Callable[[str], None]
) -> None:
    """Remove the largest pictures from a canvas, one by one, until their sizes add up to at least `excess`.

    A picture in CSS is removed with its whole declaration or presentation attribute. `report` is called with the name
    of each removed part: `image@href` for an attribute, and `background-image()` for a declaration.
    """
    if excess <= 0:
        return
    places = [*_places(canvas)]
    sizes = [
        (length, number, index)
        for number, place in enumerate(places)
        for index, length in enumerate(place.sizes(size))
    ]
    removed: dict[int, set[int]] = defaultdict(set)
    for length, number, index in sorted(sizes, key=lambda item: item[0], reverse=True):
        if excess <= 0 or length == 0:
            break
        removed[number].add(index)
        excess -= length
    for number, indexes in removed.items():
        places[number].remove(indexes, report)


def pictures_length(canvas: Canvas) -> int:
    """Return the number of characters in the URLs of all pictures in a canvas, except those in CSS."""
    return sum(
        len(value)
        for element in canvas.walk()
        for name, value in element.attrs.items()
        if _is_picture(element, name, value)
    )


def _places(canvas: Canvas) -> Iterator[_Attribute | _CssText]:
    """Yield the attributes and CSS texts of a clean canvas that may have pictures."""
    for element in (Element("", "svg", attrs=canvas.attrs), *canvas.walk()):
        if element.tag == "style":
            yield from (_CssText(text, sheet=True) for text in element.children)
        for name, value in element.attrs.items():
            if name == "style":
                yield _CssText(element, sheet=False)
            elif _is_picture(element, name, value):
                yield _Attribute(element, name, [value])
            elif name in PRESENTATION_ATTRIBUTES and "(" in value:
                yield _Attribute(element, name, [*filter(is_data_url, css.value_urls(value))])


def _is_picture(element: Element, name: str, value: str) -> bool:
    return element.tag in IMAGE_ELEMENTS and name in REFERENCES and is_data_url(value)
