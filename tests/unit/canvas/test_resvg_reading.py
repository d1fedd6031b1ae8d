"""The cost of a canvas includes each reference that resvg follows, however the file spells it. Proves R-SVG-4."""

import tracemalloc

import pytest

from svgx_canvas import DEFAULT_LIMITS, render_png
from svgx_canvas.complexity import Cost, check
from svgx_canvas.css import declarations, resvg_reading, value_ids
from svgx_canvas.policy import Report
from svgx_canvas.svg_reader import read_svg

RECT = '<rect width="9" height="9" {}/>'
TARGETS = {
    "mask": '<mask id="{}"><rect width="5" height="5" fill="white"/>{}</mask>',
    "use": '<defs><g id="{}"><rect width="5" height="5"/>{}</g></defs>',
    "fill": '<pattern id="{}" width="1" height="1"><rect width="4" height="4"/>{}</pattern>',
    "filter": '<filter id="{}"><feMorphology radius="4"/><feOffset dx="2"/></filter>',
}
REFERENCES = {
    "mask": (RECT, 'mask="url(#a)"'),
    "use": ("<use {}/>", 'href="#a"'),
    "fill": (RECT, 'fill="url(#a)"'),
    "filter": (RECT, 'filter="url(#a)"'),
}
"""For each kind, the referring element and its usual reference."""

SPELLINGS = [
    ("mask", "a", 'class="x\u3000y"', ".x\u3000y{mask:url(#a)}"),
    ("mask", "a", 'class="z x\u2003y"', ".x\u2003y{mask:url(#a)}"),
    ("mask", "a", 'class="x\u205fy"', "rect.x\u205fy:first-child,.x\u205fy{mask:url(#a)}"),
    ("mask", "a", "mask='url(\"#a\u3000\")'", ""),
    ("mask", "a", "mask=\"url( '#a\u00a0' )\"", ""),
    ("mask", "a", "style='mask:url(\"#a\u3000\")'", ""),
    ("mask", "a", 'class="x"', '.x{mask:url("#a\u3000")}'),
    ("mask", "a\u3000", 'mask="url(#a\u3000)"', ""),
    ("mask", "a&#9;", 'mask="url(#a&#9;)"', ""),
    ("mask", "a&#10;", 'style="mask:url(#a&#10;)"', ""),
    ("mask", r"\61", r'mask="url(#\61)"', ""),
    ("mask", r"\61", r'style="mask:url(#\61)"', ""),
    ("mask", "a;b", 'style="mask:url(#a;b)"', ""),
    ("mask", "a", 'style="mask-image:none!important mask:url(#a)"', ""),
    ("mask", "a", 'style="offset:1! mask:url(#a)"', ""),
    ("mask", "a", 'style="offset:none*mask:url(#a)"', ""),
    ("mask", "a", 'style="offset:none!important/**/mask/**/:/**/url(#a)"', ""),
    ("mask", "a", 'style="offset:calc((1)*mask:url(#a))"', ""),
    ("mask", "a", "style='offset:path(\")!important mask:url(#a);\")'", ""),
    ("mask", "a", r"""style='offset:"\\" "!important mask:url(#a);"'""", ""),
    ("mask", "a", 'class="x"', ".x{offset:1!important mask:url(#a)}"),
    ("mask", "a", 'class="x"', ".x{offset:none*mask:url(#a)}"),
    ("mask", "a", 'class="x"', '.x{offset:path(")!important mask:url(#a);")}'),
    ("mask", "a", 'class="x"', ".x{mask:url(#a\t)}"),
    ("use", "a\u00a0", 'href="#a\u00a0"', ""),
    ("use", "a\u3000", 'href="#a\u3000"', ""),
    ("use", "a&#9;", 'href="#a&#9;"', ""),
    ("use", "a", 'href="&#10; #a  "', ""),
    ("fill", "a", "fill=\"url('#a&#9;')\"", ""),
    ("fill", r"\61", r'fill="url(#\61) none"', ""),
    ("filter", "a", 'filter="url (#a)"', ""),
    ("filter", "a&#9;", 'filter="url( #a&#9; )"', ""),
]  # fmt: skip
"""The kind of each reference, the id of its target, the attribute of the referring element and a style sheet."""


def svg(kind: str, name: str, reference: str, sheet: str = "", inner: str = "") -> bytes:
    target, (element, _) = TARGETS[kind], REFERENCES[kind]
    body = f"{target.format(name, inner)}<style>{sheet}</style>{element.format(reference)}"
    return whole(body)


def whole(body: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{body}</svg>'.encode()


def cost(file: bytes) -> Cost:
    return check(read_svg(file, DEFAULT_LIMITS, Report()), DEFAULT_LIMITS)


@pytest.mark.parametrize(("kind", "name", "reference", "sheet"), SPELLINGS)
def test_cost_of_a_reference_does_not_depend_on_its_spelling(
    kind: str, name: str, reference: str, sheet: str
) -> None:
    """The picture shows that resvg follows the reference. Then the cost includes its target."""
    spelled, plain = svg(kind, name, reference, sheet), svg(kind, "a", REFERENCES[kind][1])
    assert render_png(spelled) == render_png(plain)
    expected, actual = cost(plain), cost(spelled)
    assert actual.elements == expected.elements
    assert actual.layers == expected.layers
    assert actual.operations == expected.operations


@pytest.mark.parametrize(
    ("kind", "name", "reference", "sheet"), [case for case in SPELLINGS if case[0] != "filter"]
)
def test_circle_is_found_however_its_reference_is_spelled(
    kind: str, name: str, reference: str, sheet: str
) -> None:
    """Proves R-SVG-16: resvg alone exhausts its stack on most circles of three such references."""
    inner = REFERENCES[kind][0].format(reference)
    file = svg(kind, name, reference, sheet, inner)
    assert len(cost(file).circular) == 1
    if "!" not in sheet:
        assert render_png(file).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("kind", "effect"),
    [
        ("mask", 'mask="url(#a)"'),
        ("mask", 'style="mask:url(#a)"'),
        ("filter", 'filter="url(#a)"'),
        ("filter", 'filter="blur(1) sepia(1)"'),
    ],
)
@pytest.mark.parametrize("reference", ["", "href='#b'"])
def test_effect_that_an_element_inherits_by_keyword_counts_for_the_element(
    kind: str, effect: str, reference: str
) -> None:
    """The element is drawn as with the effect itself, so it costs at least as much."""
    shapes = '<g id="b" {0}><rect width="9" height="9" {0}/><rect width="5" height="5" {0}/></g>'
    target = TARGETS[kind].format("a", "")
    explicit = whole(f"{target}<g {effect}>{shapes.format(effect)}</g>")
    content = shapes.format(f'{kind}="inherit"')
    inherited = whole(
        f"{target}<defs>{content}</defs><use {reference} {effect}/>"
        if reference
        else f"{target}<g {effect}>{content}</g>"
    )
    assert render_png(inherited) == render_png(explicit)
    assert cost(inherited).elements >= cost(explicit).elements
    assert cost(inherited).layers == cost(explicit).layers


@pytest.mark.parametrize(
    "after",
    [
        '<text><mask id="a"/></text>',
        '<use><mask id="a"/></use>',
        '<animate><mask id="a"/></animate><desc id="a"/><title id="a"/>',
        '<style id="a"/>',
        "",
    ],
)
def test_last_element_with_an_id_counts_if_resvg_draws_it(after: str) -> None:
    """Browsers take the first one. resvg takes the last one that it reads, except in `use`."""
    content = '<g opacity=".5"><rect y="5" width="9" height="4"/></g>'
    mask, shape = TARGETS["mask"].format("a", content), RECT.format('mask="url(#a)"')
    file = whole(f'<mask id="a"/>{mask}{after}{shape}')
    drawn = whole(mask + shape)
    assert render_png(file) == render_png(drawn)
    assert cost(file).layers >= cost(drawn).layers == 2


def test_string_with_a_backslash_hides_no_rule() -> None:
    """Proves R-SVG-12: resvg would read the string up to the next rule, and a declaration in that rule's string."""
    sheet = r'.x{content:"\\"}.y{content:"!important mask:url(#a);"}'
    file = svg("mask", "a", 'class="x"', sheet)
    assert render_png(file) == render_png(svg("mask", "a", ""))


@pytest.mark.parametrize(
    ("attribute", "layers"),
    [
        ('filter="blur(1)"', 2),
        ('filter="blur (1)  Sepia()"', 3),
        ('style="filter:drop-shadow(1 1 1 red) blur(1)"', 3),
        ('style="filter:none;stroke:none*opacity:.5"', 1),
        ('style="offset:none!important opacity:.5"', 1),
        ('filter="none"', 0),
    ],
)
def test_filter_functions_and_hidden_declarations_count_as_layers(
    attribute: str, layers: int
) -> None:
    file = (
        f'<svg xmlns="http://www.w3.org/2000/svg">{"<g>" * 3}<rect {attribute}/>{"</g>" * 3}</svg>'
    )
    assert cost(file.encode()).layers == layers


@pytest.mark.parametrize(
    "text",
    [
        "a:" + "b" * 500_000,
        "a:" + "b " * 250_000,
        "a:/*" * 125_000,
        "a:" + '"\\"' * 150_000,
        "a:f(" * 125_000,
        "a:b;" * 125_000,
        "url('#" * 80_000,
        "url" + " " * 500_000,
        "*!" * 250_000,
    ],
)
@pytest.mark.timeout(5)
def test_reading_as_resvg_does_takes_linear_time(text: str) -> None:
    assert len(list(resvg_reading.declarations(text))) <= 125_000
    assert len(resvg_reading.url_ids(text)) <= 80_000
    assert resvg_reading.filter_functions(text) == 0


def test_long_texts_are_not_kept_in_memory_after_reading() -> None:
    """Caches hold short texts only. A long one would stay in the memory of a service."""
    tracemalloc.start()
    try:
        for index in range(10):
            value = f"url(#{index}){' ' * 20_000}"
            assert value_ids(value) == (str(index),)
            assert declarations(f"fill:{value}", frozenset({"fill"}))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
