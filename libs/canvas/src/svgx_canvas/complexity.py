"""Estimate the cost of rendering a canvas without rendering it.

A few hundred bytes of nested `use` elements expand to billions of elements. The cost of each element is computed once
and stored, so the total takes one pass over the elements, regardless of the number of references. The module `limits`
has the largest allowed costs, with measurements of resvg 0.48. All costs are upper bounds: a style rule counts for each
element that the last part of its selector could match.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from svgx_canvas import css
from svgx_canvas.allow_list import IMAGE_ELEMENTS, PRESENTATION_ATTRIBUTES
from svgx_canvas.images.pictures import SvgPicture, read_picture
from svgx_canvas.images.raster import Raster
from svgx_canvas.limits import Limits, check_limit
from svgx_canvas.policy import Report
from svgx_canvas.svg_reader import picture_cleaner
from svgx_canvas.tree import TEXT, Canvas, Element

_SHAPES = frozenset(
    {"circle", "ellipse", "line", "path", "polygon", "polyline", "rect", "text", "tspan"}
)
_MARKERS = frozenset({"marker", "marker-start", "marker-mid", "marker-end"})
_PAINTS = frozenset({"fill", "stroke"})
_EFFECTS = frozenset({"clip-path", "mask", "filter"})
_LAYER_PROPERTIES = frozenset({"opacity", "mix-blend-mode", "isolation"})
_VALUES_WITHOUT_LAYER = frozenset({"1", "1.0", "100%", "normal", "auto"})
_WATCHED_PROPERTIES = _MARKERS | _PAINTS | _EFFECTS | _LAYER_PROPERTIES
"""The properties that can raise the cost of an element."""
_HREF_ELEMENTS = frozenset({"use", "tref", "feImage", "pattern", "filter"})
_GRADIENTS = frozenset({"linearGradient", "radialGradient"})
_MAX_COUNT = 1 << 62
"""The largest count. A larger result is replaced by it, because arithmetic with very long integers is slow."""


@dataclass(slots=True)
class Cost:
    """The cost of an element, its descendants and the elements that it refers to."""

    elements: int = 1
    """Elements after expansion."""
    depth: int = 1
    """Levels of elements after expansion."""
    layers: int = 0
    """Layers that a renderer paints on at the same time."""
    pixels: int = 0
    """Pixels of embedded images."""
    operations: int = 0
    """Filter operations for each pixel of the rendered picture."""
    shapes: int = 0
    """Shapes that an inherited paint applies to."""
    vertices: int = 0
    """Vertices that an inherited marker applies to."""
    selectors: int = 0
    """Selectors of all style sheets. The number is set only in the cost of the whole canvas."""
    matches: int = 0
    """Sum over all SVG pictures: the selectors in the picture's style sheets times the elements of the picture."""
    pictures: list[Canvas] = field(default_factory=list)
    """All SVG pictures, including those inside other SVG pictures. Set only in the cost of the whole canvas."""

    def add(self, inner: "Cost", times: int = 1) -> None:
        """Add the cost of a child, or of an element that is referred to `times` times."""
        self.elements = min(_MAX_COUNT, self.elements + times * inner.elements)
        self.depth = max(self.depth, 1 + inner.depth)
        self.layers = max(self.layers, inner.layers)
        self.pixels = min(_MAX_COUNT, self.pixels + times * inner.pixels)
        self.operations = min(_MAX_COUNT, self.operations + times * inner.operations)
        self.matches = min(_MAX_COUNT, self.matches + times * inner.matches)

    def add_shapes(self, inner: "Cost") -> None:
        """Add the shapes and vertices of an element that inherits paints and markers from this one."""
        self.shapes = min(_MAX_COUNT, self.shapes + inner.shapes)
        self.vertices = min(_MAX_COUNT, self.vertices + inner.vertices)


def check(canvas: Canvas, limits: Limits) -> Cost:
    """Return the cost of a canvas. The root counts as one element.

    Raises `SvgRefused` if the cost is above a limit that does not depend on the size of the rendered picture.
    """
    cost = _Meter(canvas, limits).total
    check_limit(
        "expanded_elements",
        limits.expanded_elements,
        cost.elements,
        "elements after the expansion of references",
    )
    check_limit(
        "expanded_depth",
        limits.expanded_depth,
        cost.depth,
        "levels of elements after the expansion of references",
    )
    check_limit("layers", limits.layers, cost.layers, "layers of opacity, masks, clips and filters")
    matches = cost.selectors * cost.elements + cost.matches
    check_limit(
        "style_matches", limits.style_matches, matches, "selectors of style sheets times elements"
    )
    check_limit("image_pixels", limits.image_pixels, cost.pixels, "pixels of embedded images")
    return cost


@dataclass(slots=True)
class _Declarations:
    """The declarations of `_WATCHED_PROPERTIES` in all style sheets."""

    by_key: dict[tuple[str, str], list[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Maps the key of a selector (see `css.sheet_declarations`) to the names and values of its declarations."""

    def of(self, element: Element) -> Iterator[tuple[str, str]]:
        """Yield the declarations that may apply to an element."""
        if not self.by_key:
            return
        keys = [("any", ""), ("type", element.tag)]
        if "id" in element.attrs:
            keys.append(("id", element.attrs["id"]))
        keys += [("class", name) for name in element.attrs.get("class", "").split()]
        for key in keys:
            yield from self.by_key.get(key, ())


class _Meter:
    """Computes the cost of one canvas. `total` is the result."""

    def __init__(self, canvas: Canvas, limits: Limits) -> None:
        self._limits = limits
        # Make the root an element, so that its own opacity or mask counts too.
        root = Element("", "svg", attrs=canvas.attrs, children=canvas.children)
        self._by_id: dict[str, Element] = {}
        self._sheet = _Declarations()
        self._selectors = 0
        self._css_pixels = 0
        self._pictures: list[Canvas] = []
        self._costs: dict[int, Cost | None] = {}
        """Maps the `id()` of an element to its cost, or to None while the cost is being computed."""
        for element in (root, *canvas.walk()):
            name = element.attrs.get("id")
            if name is not None:
                self._by_id.setdefault(name, element)
            self._css_pixels += sum(map(css.bitmap_pixels, _css_texts(element)))
            if element.tag == "style":
                self._add_style_sheet("".join(child.text for child in element.children))
        self.total = self._cost(root)
        self.total.selectors = self._selectors
        self.total.pixels = min(_MAX_COUNT, self.total.pixels + self._css_pixels)
        self.total.pictures = self._pictures

    def _add_style_sheet(self, sheet: str) -> None:
        self._selectors += css.selector_count(sheet)
        for key, name, value in css.sheet_declarations(sheet, _WATCHED_PROPERTIES):
            self._sheet.by_key[key].append((name, value))

    def _cost(self, root: Element) -> Cost:
        """Return the cost of the root, without recursion.

        The costs of children and referenced elements are computed first. A circular reference costs nothing, because
        renderers ignore it.
        """
        stack: list[tuple[Element, list[tuple[str, Element]] | None]] = [(root, None)]
        while stack:
            element, references = stack.pop()
            if references is None:
                if id(element) in self._costs:
                    continue
                self._costs[id(element)] = None
                references = self._references(element)
                stack.append((element, references))
                stack.extend(
                    (target, None) for _, target in references if id(target) not in self._costs
                )
                stack.extend((child, None) for child in element.children if child.tag != TEXT)
            else:
                self._costs[id(element)] = self._sum(element, references)
        total = self._costs[id(root)]
        assert total is not None
        return total

    def _sum(self, element: Element, references: list[tuple[str, Element]]) -> Cost:
        """Return the cost of an element, from the known costs of its children and of the referenced elements."""
        cost = Cost(operations=_operations(element))
        if element.tag in _SHAPES:
            cost.shapes, cost.vertices = 1, _vertices(element)
        if element.tag in IMAGE_ELEMENTS:
            self._add_pictures(cost, element.attrs)
        for child in element.children:
            inner = self._costs.get(id(child))
            if inner is not None:
                cost.add(inner)
                cost.add_shapes(inner)
        own_layers = sum(1 for name, value in self._watched(element) if _makes_layer(name, value))
        referred_layers = 0
        for kind, target in references:
            inner = self._costs.get(id(target))
            if inner is None:
                continue
            if kind == "href":
                cost.add(inner)
                cost.add_shapes(inner)
            elif kind in _MARKERS:
                cost.add(inner, cost.vertices)
            elif kind in _PAINTS:
                if target.tag not in _GRADIENTS:
                    cost.add(inner, cost.shapes)
                    referred_layers = max(referred_layers, inner.layers + 1)
            else:
                # A clip path, a mask and a filter each paint on a layer, and each step of a filter on one more layer.
                cost.add(inner)
                own_layers += 1 + (len(target.children) if kind == "filter" else 0)
                referred_layers = max(referred_layers, inner.layers)
        cost.layers = own_layers + max(cost.layers, referred_layers)
        return cost

    def _add_pictures(self, cost: Cost, attrs: Mapping[str, str]) -> None:
        """Add the pictures in an element's `data:` URLs. An SVG picture costs its elements and one layer."""
        for name in ("href", "xlink:href"):
            match read_picture(attrs.get(name, "")):
                case (Raster() as raster, _):
                    cost.pixels += raster.width * raster.height
                case (SvgPicture() as picture, _):
                    canvas = nested_canvas(picture, self._limits)
                    inner = _Meter(canvas, self._limits).total
                    self._pictures += [canvas, *inner.pictures]
                    inner.layers += 1
                    inner.matches += inner.selectors * inner.elements
                    cost.add(inner)
                case _:
                    pass

    def _watched(self, element: Element) -> Iterator[tuple[str, str]]:
        """Yield name and value of each watched property that the attributes, the style or a style sheet may set."""
        attrs = element.attrs
        for name in _WATCHED_PROPERTIES.intersection(attrs):
            yield name, attrs[name]
        if "style" in attrs:
            yield from css.declarations(attrs["style"], _WATCHED_PROPERTIES)
        yield from self._sheet.of(element)

    def _references(self, element: Element) -> list[tuple[str, Element]]:
        """Return the elements that an element refers to, each with the name of the referring property, or "href"."""
        references = []
        if element.tag in _HREF_ELEMENTS:
            for name in ("href", "xlink:href"):
                target = self._target(element.attrs.get(name, "").strip())
                if target is not None:
                    references.append(("href", target))
        for name, value in self._watched(element):
            if "(" not in value or name in _LAYER_PROPERTIES:
                continue
            for url in css.value_urls(value):
                target = self._target(url)
                if target is not None:
                    references.append((name, target))
        return references

    def _target(self, url: str) -> Element | None:
        return self._by_id.get(url[1:]) if url.startswith("#") else None


def _css_texts(element: Element) -> Iterator[str]:
    """Yield the CSS texts of an element that may contain pictures: a style sheet's text, and values of attributes."""
    if element.tag == "style":
        yield from (child.text for child in element.children)
    for name, value in element.attrs.items():
        if name == "style" or (name in PRESENTATION_ATTRIBUTES and "(" in value):
            yield value


def nested_canvas(picture: SvgPicture, limits: Limits) -> Canvas:
    """Return the canvas of an SVG picture. The picture must be clean already."""
    return picture_cleaner(limits, Report(), strict=True).read_svg(picture)


def _makes_layer(name: str, value: str) -> bool:
    return name in _LAYER_PROPERTIES and value.strip() not in _VALUES_WITHOUT_LAYER


_COMMANDS = "MmLlHhVvCcSsQqTtAaZz"

_BEFORE_NUMBERS = " \t\n\r\f,+-."
"""White space, commas, signs and decimal points.

Each number of a path or polygon follows or begins with one of these characters, or follows a command or an arc flag.
"""


def _vertices(element: Element) -> int:
    """Return an upper bound of the vertices of a shape. In a path, each vertex takes at least one number."""
    numbers = element.attrs.get("d") or element.attrs.get("points") or ""
    return 2 + sum(map(numbers.count, _BEFORE_NUMBERS + _COMMANDS))


def _operations(element: Element) -> int:
    """Return the operations per pixel that resvg needs for a filter step.

    Return 0 for a filter step with a fixed cost, and for an element that is not a filter step.
    """
    match element.tag:
        case "feMorphology":
            across, down = _pair(element.attrs.get("radius", ""), 0)
            return int(min(_MAX_COUNT, (2 * across + 1) * (2 * down + 1)))
        case "feConvolveMatrix":
            across, down = _pair(element.attrs.get("order", ""), 3)
            return int(min(_MAX_COUNT, across * down))
        case "feTurbulence":
            octaves, _ = _pair(element.attrs.get("numOctaves", ""), 1)
            return int(min(_MAX_COUNT, 16 * octaves))
        case _:
            return 0


def _pair(text: str, default: float) -> tuple[float, float]:
    """Return the two numbers of an attribute that has one or two numbers. A single number counts for both."""
    numbers = [min(abs(number), 1e9) for number in css.numbers(text[:200])[:2]]
    if not numbers:
        return default, default
    return numbers[0], numbers[-1]
