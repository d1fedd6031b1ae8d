"""What a canvas costs a renderer, found without rendering it.

A few hundred bytes of `use` in `use` fill in to billions of elements. Here every reference is followed once and its
cost remembered, so that the sum of all is known after one pass over the elements. What was measured with resvg 0.48 is
in the limits. Counts are upper bounds: where style sheets are concerned, a rule counts for each element that the last
part of its selector could match.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from svgx_canvas import css
from svgx_canvas.limits import Limits, require
from svgx_canvas.names import PICTURE_ELEMENTS
from svgx_canvas.raster import parse_data_url
from svgx_canvas.tree import TEXT, Canvas, Element

_SHAPES = frozenset(
    {"circle", "ellipse", "line", "path", "polygon", "polyline", "rect", "text", "tspan"}
)
_MARKERS = frozenset({"marker", "marker-start", "marker-mid", "marker-end"})
_PAINTS = frozenset({"fill", "stroke"})
_EFFECTS = frozenset({"clip-path", "mask", "filter"})
_GROUPING = frozenset({"opacity", "mix-blend-mode", "isolation"})
_NO_GROUP = frozenset({"1", "1.0", "100%", "normal", "auto"})
_WATCHED = _MARKERS | _PAINTS | _EFFECTS | _GROUPING
_FILLING_IN = frozenset({"use", "tref", "feImage", "pattern", "filter"})
_SOLID_SERVERS = frozenset({"linearGradient", "radialGradient"})
_MOST = 1 << 62


@dataclass(slots=True)
class Cost:
    """Of an element with all it holds and refers to.

    elements, depth: after filling in. layers: canvases a renderer has open at once for it. pixels: of pictures.
    operations: of filters, a pixel. shapes, vertices: places where an inherited paint or marker applies.
    selectors: of all style sheets; only of the whole canvas.
    """

    elements: int = 1
    depth: int = 1
    layers: int = 0
    pixels: int = 0
    operations: int = 0
    shapes: int = 0
    vertices: int = 0
    selectors: int = 0

    def hold(self, inner: "Cost", times: int = 1) -> None:
        """Add something that is in it, or that it refers to `times` times."""
        self.elements = min(_MOST, self.elements + times * inner.elements)
        self.depth = max(self.depth, 1 + inner.depth)
        self.layers = max(self.layers, inner.layers)
        self.pixels = min(_MOST, self.pixels + times * inner.pixels)
        self.operations = min(_MOST, self.operations + times * inner.operations)


def measure(canvas: Canvas) -> Cost:
    """What the whole canvas costs, its root being one element."""
    return _Meter(canvas).total


def check(canvas: Canvas, limits: Limits) -> Cost:
    """The same, within the limits that hold whatever the size of the picture. Raises `SvgRefused`."""
    cost = measure(canvas)
    require(
        "expanded_elements",
        limits.expanded_elements,
        cost.elements,
        "elements with what use fills in",
    )
    require(
        "expanded_depth",
        limits.expanded_depth,
        cost.depth,
        "elements inside one another with use filled in",
    )
    require("layers", limits.layers, cost.layers, "layers of opacity, masks, clips and filters")
    matches = cost.selectors * cost.elements
    require(
        "style_matches", limits.style_matches, matches, "selectors of style sheets times elements"
    )
    require("image_pixels", limits.image_pixels, cost.pixels, "pixels of embedded pictures")
    return cost


@dataclass(slots=True)
class _Sheet:
    """Watched declarations of all style sheets, by what their selectors end with."""

    by_key: dict[tuple[str, str], list[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def declarations(self, element: Element) -> Iterator[tuple[str, str]]:
        if not self.by_key:
            return
        keys = [("any", ""), ("type", element.tag)]
        if "id" in element.attrs:
            keys.append(("id", element.attrs["id"]))
        keys += [("class", name) for name in element.attrs.get("class", "").split()]
        for key in keys:
            yield from self.by_key.get(key, ())


class _Meter:
    def __init__(self, canvas: Canvas) -> None:
        # A root of the same shape as its content, so that its own opacity or mask counts too.
        root = Element("", "svg", attrs=canvas.attrs, children=canvas.children)
        self._by_id: dict[str, Element] = {}
        self._sheet = _Sheet()
        self._selectors = 0
        self._costs: dict[int, Cost | None] = {}  # by identity; None while it is being found
        for element in (root, *canvas.walk()):
            name = element.attrs.get("id")
            if name is not None:
                self._by_id.setdefault(name, element)
            if element.tag == "style":
                self._learn("".join(child.text for child in element.children))
        self.total = self._cost(root)
        self.total.selectors = self._selectors

    def _learn(self, sheet: str) -> None:
        self._selectors += css.selector_count(sheet)
        for key, name, value in css.sheet_declarations(sheet, _WATCHED):
            self._sheet.by_key[key].append((name, value))

    def _cost(self, root: Element) -> Cost:
        """Children and references first, without recursion. A reference back into what is being measured, which
        renderers leave out, costs nothing."""
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
        cost = Cost(operations=_operations(element))
        if element.tag in _SHAPES:
            cost.shapes, cost.vertices = 1, _vertices(element)
        if element.tag in PICTURE_ELEMENTS:
            cost.pixels = _pixels(element.attrs)
        for child in element.children:
            inner = self._costs.get(id(child))
            if inner is not None:
                cost.hold(inner)
                cost.shapes = min(_MOST, cost.shapes + inner.shapes)
                cost.vertices = min(_MOST, cost.vertices + inner.vertices)
        own_layers = sum(1 for name, value in self._watched(element) if _makes_group(name, value))
        referred_layers = 0
        for kind, target in references:
            inner = self._costs.get(id(target))
            if inner is None:
                continue
            if kind == "href":
                cost.hold(inner)
                cost.shapes = min(_MOST, cost.shapes + inner.shapes)
                cost.vertices = min(_MOST, cost.vertices + inner.vertices)
            elif kind in _MARKERS:
                cost.hold(inner, cost.vertices)
            elif kind in _PAINTS:
                if target.tag not in _SOLID_SERVERS:
                    cost.hold(inner, cost.shapes)
                    referred_layers = max(referred_layers, inner.layers + 1)
            else:
                cost.hold(inner)
                own_layers += 1 + (len(target.children) if kind == "filter" else 0)
                referred_layers = max(referred_layers, inner.layers)
        cost.layers = own_layers + max(cost.layers, referred_layers)
        return cost

    def _watched(self, element: Element) -> Iterator[tuple[str, str]]:
        attrs = element.attrs
        for name in _WATCHED.intersection(attrs):
            yield name, attrs[name]
        if "style" in attrs:
            yield from css.declarations(attrs["style"], _WATCHED)
        yield from self._sheet.declarations(element)

    def _references(self, element: Element) -> list[tuple[str, Element]]:
        found = []
        if element.tag in _FILLING_IN:
            for name in ("href", "xlink:href"):
                target = self._target(element.attrs.get(name, "").strip())
                if target is not None:
                    found.append(("href", target))
        for name, value in self._watched(element):
            if "(" not in value or name in _GROUPING:
                continue
            for fragment in css.fragments(value):
                target = self._target(fragment)
                if target is not None:
                    found.append((name, target))
        return found

    def _target(self, fragment: str) -> Element | None:
        return self._by_id.get(fragment[1:]) if fragment.startswith("#") else None


def _makes_group(name: str, value: str) -> bool:
    return name in _GROUPING and value.strip() not in _NO_GROUP


def _vertices(element: Element) -> int:
    """At least as many as a marker may be drawn at: paths give each vertex one number or more."""
    outline = element.attrs.get("d") or element.attrs.get("points") or ""
    return (
        2
        + outline.count(" ")
        + outline.count(",")
        + outline.count("-")
        + outline.count(".")
        + sum(map(outline.count, "MmLlHhVvCcSsQqTtAaZz"))
    )


def _pixels(attrs: Mapping[str, str]) -> int:
    found = [parse_data_url(attrs[name]) for name in ("href", "xlink:href") if name in attrs]
    return sum(item[0].width * item[0].height for item in found if item is not None)


def _operations(element: Element) -> int:
    """For a pixel of a filter step whose work depends on its numbers, as resvg does it."""
    match element.tag:
        case "feMorphology":
            across, down = _pair(element.attrs.get("radius", ""), 0)
            return int(min(_MOST, (2 * across + 1) * (2 * down + 1)))
        case "feConvolveMatrix":
            across, down = _pair(element.attrs.get("order", ""), 3)
            return int(min(_MOST, across * down))
        case "feTurbulence":
            octaves, _ = _pair(element.attrs.get("numOctaves", ""), 1)
            return int(min(_MOST, 16 * octaves))
        case _:
            return 0


def _pair(text: str, default: float) -> tuple[float, float]:
    numbers = [min(abs(number), 1e9) for number in css.numbers(text[:200])[:2]]
    if not numbers:
        return default, default
    return numbers[0], numbers[-1]
