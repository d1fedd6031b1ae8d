"""Estimate the cost of rendering a canvas without rendering it.

A few hundred bytes of nested `use` elements expand to billions of elements. The cost of each element is computed once
and stored, so the total takes one pass over the elements, regardless of the number of references. Only the cost of an
element on a circle of references is computed several times, up to a limit. The module `limits` has the largest allowed
costs, with measurements of resvg 0.48. All costs are upper bounds: a style rule counts for each element that the last
part of its selector could match, and elements that are not drawn where they stand, such as those in `defs`, count too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from svgx_canvas import css
from svgx_canvas.allow_list import IMAGE_ELEMENTS, PRESENTATION_ATTRIBUTES, READ_BY_RESVG
from svgx_canvas.circular_reference import HREF, CircularReference
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
_INHERITING_VALUES = frozenset({"inherit", "unset"})
_WATCHED_PROPERTIES = _MARKERS | _PAINTS | _EFFECTS | _LAYER_PROPERTIES
"""The properties that can raise the cost of an element."""
_PAINTED = _SHAPES | {"use"}
"""The elements that use the paints that they inherit. A `use` element passes them on to its target."""
_INHERITED = "inherited "
"""The prefix of the kind of an inherited reference. The property's name follows.

An inherited reference may close a circle, and has no cost of its own.
"""
_HREF_ELEMENTS = frozenset({"use", "tref", "feImage", "pattern", "filter"})
_GRADIENTS = frozenset({"linearGradient", "radialGradient"})
_Patterns = dict[int, Element]
"""Different patterns, by their `id()`."""
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
    inheriting: int = 0
    """Elements that may inherit a clip path, a mask or a filter by the keyword `inherit`."""
    inheriting_depth: int = 0
    """Levels of these elements."""
    selectors: int = 0
    """Selectors of all style sheets. The number is set only in the cost of the whole canvas."""
    matches: int = 0
    """Sum over all SVG pictures: the selectors in the picture's style sheets times the elements of the picture."""
    pictures: list[Canvas] = field(default_factory=list)
    """All SVG pictures, including those inside other SVG pictures. Set only in the cost of the whole canvas."""
    circular: list[CircularReference] = field(default_factory=list)
    """References that close circles: without them, the canvas has no circle. Set only in the cost of the whole canvas.

    A picture with a circle counts as a reference of the element that draws the picture.
    """

    def add(self, inner: "Cost", times: int = 1) -> None:
        """Add the cost of a child, or of an element that is referred to `times` times."""
        self.elements = min(_MAX_COUNT, self.elements + times * inner.elements)
        self.depth = max(self.depth, 1 + inner.depth)
        self.layers = max(self.layers, inner.layers)
        self.pixels = min(_MAX_COUNT, self.pixels + times * inner.pixels)
        self.operations = min(_MAX_COUNT, self.operations + times * inner.operations)
        self.matches = min(_MAX_COUNT, self.matches + times * inner.matches)

    def add_inherited(self, inner: "Cost") -> None:
        """Add the numbers that depend on inherited properties, for an element that inherits from this one."""
        self.shapes = min(_MAX_COUNT, self.shapes + inner.shapes)
        self.vertices = min(_MAX_COUNT, self.vertices + inner.vertices)
        self.inheriting = min(_MAX_COUNT, self.inheriting + inner.inheriting)
        self.inheriting_depth = max(self.inheriting_depth, inner.inheriting_depth)


def check(canvas: Canvas, limits: Limits) -> Cost:
    """Return the cost of a canvas. The root counts as one element.

    Raises `SvgRefused` if the cost is above a limit that does not depend on the size of the rendered picture.
    """
    cost = _Meter(canvas, limits).total
    _check_expanded_elements(cost.elements, limits)
    check_limit(
        "expanded_depth",
        limits.expanded_depth,
        cost.depth,
        "levels of elements after the expansion of references",
    )
    check_limit("layers", limits.layers, cost.layers, "layers of opacity, masks, clips and filters")
    _check_style_matches(cost.selectors * cost.elements + cost.matches, limits)
    check_limit("image_pixels", limits.image_pixels, cost.pixels, "pixels of embedded images")
    return cost


def _check_style_matches(count: int, limits: Limits) -> None:
    check_limit(
        "style_matches",
        limits.style_matches,
        count,
        "selectors of style sheets times elements and declarations",
    )


def _check_expanded_elements(count: int, limits: Limits) -> None:
    check_limit(
        "expanded_elements",
        limits.expanded_elements,
        count,
        "elements after the expansion of references",
    )


@dataclass(slots=True)
class _Effect:
    """The part of an element's cost that comes from declarations."""

    references: list[tuple[str, Element]] = field(default_factory=list)
    """The elements that the declarations refer to, each with the name of the referring property.

    A gradient in a paint is left out, because it costs nothing.
    """
    patterns: dict[str, _Patterns] = field(default_factory=dict)
    """The patterns in `references`, by the names of the paints."""
    layers: int = 0
    functions: int = 0
    """The number of filter functions, such as `blur()`."""
    inherits: bool = False
    """Whether a declaration may inherit a clip path, a mask or a filter."""

    def add(self, other: "_Effect") -> None:
        """Add the effect of further declarations."""
        self.references += other.references
        for name, patterns in other.patterns.items():
            self.patterns.setdefault(name, {}).update(patterns)
        self.layers += other.layers
        self.functions += other.functions
        self.inherits |= other.inherits


@dataclass(slots=True)
class _KeyDeclarations:
    """The declarations in all style sheets that have a selector with the same key (see `css.Key`)."""

    costly: dict[tuple[str, str], None] = field(default_factory=dict)
    """The different names and values of the declarations that cost something. The dictionary's values are unused."""
    paints: set[str] = field(default_factory=set)
    """The properties of `_PAINTS` that any of the declarations sets."""


@dataclass(slots=True)
class _Node:
    """An element, the elements that its cost includes, and the part of its cost that comes from the element alone.

    A node is computed once, because an element may have long attributes and large pictures.
    """

    element: Element
    children: int
    """The number of children, except texts."""
    parts: list[Element]
    """The children, except texts, and then the elements that the element refers to."""
    kinds: list[str]
    """For each reference, `HREF` or the referring property. An inherited one begins with `_INHERITED`."""
    shapes: int
    vertices: int
    operations: int
    layers: int
    functions: int
    """The number of filter functions, such as `blur()`. Each counts as one element, and as a step of a filter."""
    inherits: bool
    """Whether the element may inherit a clip path, a mask or a filter."""
    pictures: list[Cost]
    """The costs of the pictures in the element's `data:` URLs."""


@dataclass(slots=True)
class _Step:
    """The unfinished computation of one element's cost."""

    node: _Node
    lowest: int
    """The lowest place on the path, of the elements that were ignored as circular and of the element itself."""
    costs: list[Cost | None] = field(default_factory=list)
    """The costs of the first parts of the node. The cost of an ignored element is None."""


class _Meter:
    """Computes the cost of one canvas. `total` is the result."""

    def __init__(self, canvas: Canvas, limits: Limits, counted: int = 0) -> None:
        self._limits = limits
        # Make the root an element, so that its own opacity or mask counts too.
        root = Element("", "svg", attrs=canvas.attrs, children=canvas.children)
        self._by_id: dict[str, Element] = {}
        """Maps an id to the first element that has it: the target in browsers, and that of `use` in resvg."""
        self._last_by_id: dict[str, Element] = {}
        """Maps an id to the last element that has it and that resvg reads: the target of resvg's other references."""
        self._sheet: dict[css.Key, _KeyDeclarations] = {}
        self._sheet_effects: dict[css.Key, _Effect] = {}
        """Maps the keys of `_sheet` that elements have to the effects of their declarations."""
        self._declaration_effects: dict[tuple[str, str], _Effect] = {}
        """Maps names and values of the declarations in `_sheet` to their effects, because many keys can share them."""
        self._selectors = 0
        self._sheet_characters = 0
        self._css_pixels = 0
        self._pictures: list[Canvas] = []
        self._circular: dict[tuple[int, str], CircularReference] = {}
        """Maps the `id()` of an element and the kind of its reference to the reference."""
        self._costs: dict[int, Cost] = {}
        """Maps the `id()` of an element to its cost."""
        self._inherited: dict[int, dict[str, _Patterns]] = {}
        """Maps the `id()` of an element to the patterns that it may inherit, by the names of the paints.

        Elements that inherit the same patterns share these dictionaries.
        """
        self._nodes: dict[int, _Node] = {}
        """Maps the `id()` of an element on a circle to its node, until the element has a cost that can be stored."""
        self.counted = counted
        """The sum of all calls of `_count`, including those for other pictures."""
        unread: set[int] = set()
        elements = 0
        for element in (root, *canvas.walk()):
            elements += element.tag != TEXT
            is_read = element.tag in READ_BY_RESVG and id(element) not in unread
            if not is_read or element.tag in ("text", "use"):
                unread.update(map(id, element.children))
            name = element.attrs.get("id")
            if name is not None:
                self._by_id.setdefault(name, element)
                if is_read:
                    self._last_by_id[name] = element
            self._css_pixels += sum(map(css.bitmap_pixels, _css_texts(element)))
            if element.tag == "style":
                self._add_style_sheet("".join(child.text for child in element.children))
        # The cost has at least these matches. With many more, its computation would take minutes.
        _check_style_matches(self._selectors * elements + self._sheet_characters, limits)
        targets = (*self._by_id.values(), *self._last_by_id.values())
        if any(element.tag == "pattern" for element in targets):
            self._inherit_patterns(root)
        self.total = self._cost(root)
        self.total.selectors = self._selectors
        self.total.pixels = min(_MAX_COUNT, self.total.pixels + self._css_pixels)
        self.total.pictures = self._pictures
        self.total.circular = [*self._circular.values()]

    def _count(self, parts: int) -> None:
        """Count parts of elements, mostly references, while the cost is computed.

        Almost each part is one more element after the expansion. So the limit `expanded_elements` bounds the parts too.
        Otherwise a small file could have many millions of them, and their computation would take minutes.
        """
        self.counted += parts
        _check_expanded_elements(self.counted, self._limits)

    def _add_style_sheet(self, sheet: str) -> None:
        self._selectors += css.selector_count(sheet)
        found, characters = css.sheet_declarations(sheet, _WATCHED_PROPERTIES)
        self._sheet_characters += characters
        for keys, declarations in found.items():
            paints = _PAINTS.intersection(name for name, _ in declarations)
            costly = {pair: None for pair in declarations if _is_costly(*pair)}
            self._count(len(keys) * len(costly))
            for key in keys:
                known = self._sheet.setdefault(key, _KeyDeclarations())
                known.costly.update(costly)
                known.paints.update(paints)

    def _sheet_keys(self, element: Element) -> list[css.Key]:
        """Return the keys of the selectors that may match an element and that a style sheet has."""
        if not self._sheet:
            return []
        keys = [("any", ""), ("type", element.tag)]
        if "id" in element.attrs:
            keys.append(("id", element.attrs["id"]))
        classes = dict.fromkeys(css.class_names(element.attrs.get("class", "")))
        return [
            key for key in (*keys, *(("class", name) for name in classes)) if key in self._sheet
        ]

    def _sheet_effect(self, key: css.Key) -> _Effect:
        """Return the effect of all declarations of a key of `_sheet`."""
        effect = self._sheet_effects.get(key)
        if effect is None:
            effect = self._sheet_effects[key] = _Effect()
            for declaration in self._sheet[key].costly:
                part = self._declaration_effects.get(declaration)
                if part is None:
                    part = self._declaration_effects[declaration] = self._effect([declaration])
                self._count(len(part.references))
                effect.add(part)
        return effect

    def _effect(self, declarations: Iterable[tuple[str, str]]) -> _Effect:
        effect = _Effect()
        for name, value in declarations:
            if name in _LAYER_PROPERTIES:
                effect.layers += _makes_layer(name, value)
                continue
            effect.inherits |= _inherits_effect(name, value)
            if name == "filter":
                effect.functions += css.filter_functions(value)
            for target in self._targets(css.value_ids(value)):
                if name not in _PAINTS:
                    effect.references.append((name, target))
                elif target.tag not in _GRADIENTS:
                    effect.references.append((name, target))
                    if target.tag == "pattern":
                        effect.patterns.setdefault(name, {})[id(target)] = target
        return effect

    def _inherit_patterns(self, root: Element) -> None:
        """Fill `_inherited`. The content of a pattern may inherit the pattern itself."""
        pending: list[tuple[Element, dict[str, _Patterns]]] = [(root, {})]
        while pending:
            element, inherited = pending.pop()
            own = [*_own_declarations(element)]
            keys = self._sheet_keys(element)
            set_by_sheet = set().union(*(self._sheet[key].paints for key in keys))
            replaced = {
                name for name, value in own if name in _PAINTS and value not in _INHERITING_VALUES
            }
            # A style sheet may apply to the element or not.
            replaced -= set_by_sheet
            kept = inherited
            if not replaced.isdisjoint(inherited):
                kept = {name: inherited[name] for name in inherited.keys() - replaced}
            if kept and element.tag in _PAINTED:
                self._inherited[id(element)] = kept
            children = [child for child in element.children if child.tag != TEXT]
            if children:
                effects = (self._effect(own), *map(self._sheet_effect, keys))
                passed_on = self._with_patterns(kept, effects)
                pending += [(child, passed_on) for child in children]

    def _with_patterns(
        self, inherited: dict[str, _Patterns], effects: Iterable[_Effect]
    ) -> dict[str, _Patterns]:
        """Return inherited patterns and those of an element's declarations, by the names of the paints."""
        for effect in effects:
            for name, patterns in effect.patterns.items():
                inherited = {**inherited, name: inherited.get(name, {}) | patterns}
                self._count(len(inherited[name]))
        return inherited

    def _cost(self, root: Element) -> Cost:
        """Return the cost of the root, without recursion.

        The costs of children and referenced elements are computed first. The path has all elements with unfinished
        costs, from the root on. A child or reference that leads back to an element on the path is circular. It costs
        nothing, because browsers ignore it.

        An element that leads to an earlier element on the path has a cost that is valid for this path only. That cost
        is not stored, so it is computed again for each path to the element. The number of paths can be exponential, but
        each path is one more element after the expansion. The limit `expanded_elements` therefore bounds it too.
        """
        path = {id(root): 0}
        stack = [_Step(self._node(root), 0)]
        while True:
            step = stack[-1]
            unfinished = self._add_costs(stack, path)
            if unfinished is not None:
                path[id(unfinished.element)] = len(stack)
                stack.append(_Step(unfinished, len(stack)))
                continue
            stack.pop()
            cost = self._sum(step.node, step.costs)
            key = id(step.node.element)
            if step.lowest == path.pop(key):
                self._costs[key] = cost
                self._nodes.pop(key, None)
            else:
                self._nodes[key] = step.node
                self._count(len(step.node.parts))
            if not stack:
                return cost
            stack[-1].costs.append(cost)
            stack[-1].lowest = min(stack[-1].lowest, step.lowest)

    def _add_costs(self, stack: Sequence[_Step], path: Mapping[int, int]) -> _Node | None:
        """Add the costs of the next parts to the last step of a path.

        Return the node of the first part that has parts and no cost yet, or None if all parts have been added.
        """
        step = stack[-1]
        costs, parts = step.costs, step.node.parts
        for index in range(len(costs), len(parts)):
            key = id(parts[index])
            cost = self._costs.get(key)
            if cost is None:
                place = path.get(key)
                if place is None:
                    node = self._node(parts[index])
                    if node.parts:
                        return node
                    self._costs[key] = cost = self._sum(node, [])
                else:
                    step.lowest = min(step.lowest, place)
                    self._add_circular(_last_reference(stack, place))
            costs.append(cost)
        return None

    def _add_circular(self, reference: CircularReference) -> None:
        self._circular[id(reference.element), reference.kind] = reference

    def _node(self, element: Element) -> _Node:
        """Return the node of an element. A node that was computed before is used again."""
        node = self._nodes.get(id(element))
        if node is not None:
            return node
        parts = [child for child in element.children if child.tag != TEXT]
        children = len(parts)
        effects = [self._effect(_own_declarations(element))]
        effects += map(self._sheet_effect, self._sheet_keys(element))
        kinds: list[str] = []
        for kind, target in self._references(element, effects):
            kinds.append(kind)
            parts.append(target)
        self._count(len(kinds))
        pictures = self._picture_costs(element) if element.tag in IMAGE_ELEMENTS else []
        shapes, vertices = (1, _vertices(element)) if element.tag in _SHAPES else (0, 0)
        return _Node(
            element,
            children=children,
            parts=parts,
            kinds=kinds,
            shapes=shapes,
            vertices=vertices,
            operations=_operations(element),
            layers=sum(effect.layers for effect in effects),
            functions=sum(effect.functions for effect in effects),
            inherits=any(effect.inherits for effect in effects),
            pictures=pictures,
        )

    def _sum(self, node: _Node, costs: list[Cost | None]) -> Cost:
        """Return the cost of an element. `costs` are the costs of its parts, with None for a circular reference."""
        cost = Cost(
            operations=node.operations,
            shapes=node.shapes,
            vertices=node.vertices,
        )
        for picture in node.pictures:
            cost.add(picture)
        for inner in costs[: node.children]:
            if inner is not None:
                cost.add(inner)
                cost.add_inherited(inner)
        own_layers = node.layers
        referred_layers = 0
        for index, kind in enumerate(node.kinds, node.children):
            target, inner = node.parts[index], costs[index]
            if inner is None or kind.startswith(_INHERITED):
                continue
            if kind == HREF:
                cost.add(inner)
                cost.add_inherited(inner)
            elif kind in _MARKERS:
                cost.add(inner, cost.vertices)
            elif kind in _PAINTS:
                cost.add(inner, cost.shapes)
                referred_layers = max(referred_layers, inner.layers + 1)
            else:
                # A clip path, a mask and a filter each paint on a layer, and each step of a filter on one more layer.
                cost.add(inner, 1 + cost.inheriting)
                steps = len(target.children) if kind == "filter" else 0
                own_layers += (1 + steps) * (1 + cost.inheriting_depth)
                referred_layers = max(referred_layers, inner.layers)
        if node.functions:
            cost.add(Cost(elements=node.functions, depth=0), 1 + cost.inheriting)
            own_layers += (1 + node.functions) * (1 + cost.inheriting_depth)
        cost.layers = own_layers + max(cost.layers, referred_layers)
        cost.inheriting += node.inherits
        cost.inheriting_depth += node.inherits
        return cost

    def _picture_costs(self, element: Element) -> list[Cost]:
        """Return the costs of the pictures in an element's `data:` URLs. An SVG picture costs one more layer."""
        costs: list[Cost] = []
        for name in ("href", "xlink:href"):
            match read_picture(element.attrs.get(name, "")):
                case (Raster() as raster, _):
                    costs.append(Cost(elements=0, depth=0, pixels=raster.width * raster.height))
                case (SvgPicture() as picture, _):
                    canvas = nested_canvas(picture, self._limits)
                    meter = _Meter(canvas, self._limits, self.counted)
                    self.counted = meter.counted
                    inner = meter.total
                    self._pictures += [canvas, *inner.pictures]
                    inner.layers += 1
                    inner.matches += inner.selectors * inner.elements
                    if inner.circular:
                        self._add_circular(CircularReference(element, HREF))
                    costs.append(inner)
                case _:
                    pass
        return costs

    def _references(
        self, element: Element, effects: Iterable[_Effect]
    ) -> Iterator[tuple[str, Element]]:
        """Yield the elements that an element refers to, each with its kind (see `_Node.kinds`).

        `effects` are the effects of the element's declarations.
        """
        if element.tag in _HREF_ELEMENTS:
            for name in ("href", "xlink:href"):
                for target in self._targets(css.href_ids(element.attrs.get(name, ""))):
                    yield HREF, target
        for effect in effects:
            yield from effect.references
        for name, patterns in self._inherited.get(id(element), {}).items():
            for target in patterns.values():
                yield _INHERITED + name, target

    def _targets(self, ids: Iterable[str]) -> Iterator[Element]:
        """Yield the elements with these ids: for an id that several elements have, the first and the last one."""
        for name in ids:
            first, last = self._by_id.get(name), self._last_by_id.get(name)
            if first is not None:
                yield first
            if last is not None and last is not first:
                yield last


def _own_declarations(element: Element) -> Iterator[tuple[str, str]]:
    """Yield name and value of each watched property that the attributes or the style of an element set."""
    attrs = element.attrs
    for name in _WATCHED_PROPERTIES.intersection(attrs):
        yield name, attrs[name]
    if "style" in attrs:
        yield from css.declarations(attrs["style"], _WATCHED_PROPERTIES)


def _last_reference(stack: Sequence[_Step], place: int) -> CircularReference:
    """Return the last reference of a circle. The next part of each step is the next element of the circle.

    The steps of the circle are those from `place` on. At least one of them has a reference as its next part, because no
    element is its own descendant.
    """
    for step in islice(reversed(stack), len(stack) - place):
        index = len(step.costs) - step.node.children
        if index >= 0:
            kind = step.node.kinds[index]
            return CircularReference(step.node.element, kind.removeprefix(_INHERITED))
    raise AssertionError


def _css_texts(element: Element) -> Iterator[str]:
    """Yield the CSS texts of an element that may contain pictures: a style sheet's text, and values of attributes."""
    if element.tag == "style":
        yield from (child.text for child in element.children)
    for name, value in element.attrs.items():
        if name == "style" or (name in PRESENTATION_ATTRIBUTES and "(" in value):
            yield value


def picture_pixels(url: str, limits: Limits) -> int:
    """Return the pixels of the picture in a `data:` URL. An SVG picture has the pixels of all bitmaps in it."""
    match read_picture(url):
        case (Raster() as raster, _):
            return raster.width * raster.height
        case (SvgPicture() as picture, _):
            return _Meter(nested_canvas(picture, limits), limits).total.pixels
        case _:
            return 0


def nested_canvas(picture: SvgPicture, limits: Limits) -> Canvas:
    """Return the canvas of an SVG picture. The picture must be clean already."""
    return picture_cleaner(limits, Report(), strict=True).read_svg(picture)


def _makes_layer(name: str, value: str) -> bool:
    return name in _LAYER_PROPERTIES and value.strip() not in _VALUES_WITHOUT_LAYER


def _inherits_effect(name: str, value: str) -> bool:
    return name in _EFFECTS and value.strip() == "inherit"


def _is_costly(name: str, value: str) -> bool:
    """Return whether a declaration of a watched property costs something."""
    if name in _LAYER_PROPERTIES:
        return _makes_layer(name, value)
    if _inherits_effect(name, value) or (name == "filter" and css.filter_functions(value) > 0):
        return True
    return bool(css.value_ids(value))


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

    Return 0 for a filter step with a fixed cost, and for an element that is not a filter step. resvg replaces a radius
    of 0 by 1, and an invalid order by 3.
    """
    match element.tag:
        case "feMorphology":
            across, down = _sides(element.attrs.get("radius", ""), 1)
            return int(min(_MAX_COUNT, (2 * across + 1) * (2 * down + 1)))
        case "feConvolveMatrix":
            across, down = _sides(element.attrs.get("order", ""), 3)
            return int(min(_MAX_COUNT, across * down))
        case "feTurbulence":
            octaves, _ = css.pair(element.attrs.get("numOctaves", "")) or (1, 1)
            return int(min(_MAX_COUNT, 16 * abs(octaves)))
        case _:
            return 0


def _sides(text: str, least: float) -> tuple[float, float]:
    """Return the two sides in an attribute that has one or two numbers. Both are at least `least`."""
    across, down = (max(least, min(abs(side), 1e9)) for side in css.pair(text) or (least, least))
    return across, down
