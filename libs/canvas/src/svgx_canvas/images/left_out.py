"""Leave pictures out of a canvas that is beyond a limit, so that the rest of the canvas can be exported."""

from collections.abc import Callable

from svgx_canvas.allow_list import IMAGE_ELEMENTS, REFERENCES
from svgx_canvas.images.data_url import is_data_url
from svgx_canvas.images.pictures import read_picture
from svgx_canvas.images.raster import Raster
from svgx_canvas.tree import Canvas, Element


def leave_out_largest(
    canvas: Canvas, excess: int, size: Callable[[str], int], report: Callable[[str], None]
) -> None:
    """Remove the largest pictures from a canvas, one by one, until their sizes add up to at least `excess`.

    `size` returns the size of the picture in a `data:` URL. `report` is called with the element and attribute of each
    removed picture, such as `image@href`.
    """
    if excess <= 0:
        return
    pictures = [(size(element.attrs[name]), element, name) for element, name in _pictures(canvas)]
    for length, element, name in sorted(pictures, key=lambda item: item[0], reverse=True):
        if excess <= 0 or length == 0:
            return
        del element.attrs[name]
        report(f"{element.tag}@{name}")
        excess -= length


def pictures_length(canvas: Canvas) -> int:
    """Return the number of characters in the URLs of all pictures in a canvas."""
    return sum(len(element.attrs[name]) for element, name in _pictures(canvas))


def bitmap_pixels(url: str) -> int:
    """Return the number of pixels of the bitmap in a `data:` URL, or 0 for any other picture."""
    picture = read_picture(url)
    if picture is None or not isinstance(picture[0], Raster):
        return 0
    return picture[0].width * picture[0].height


def _pictures(canvas: Canvas) -> list[tuple[Element, str]]:
    """Return the elements with a picture, each with the name of the attribute that has it."""
    return [
        (element, name)
        for element in canvas.walk()
        if element.tag in IMAGE_ELEMENTS
        for name, value in element.attrs.items()
        if name in REFERENCES and is_data_url(value)
    ]
