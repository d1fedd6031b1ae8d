"""A file beyond a limit is refused before it takes much memory or time. The error names the limit. Proves R-SVG-4."""

import base64
import json
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import TypedDict

import pytest

from svgx_canvas import DEFAULT_LIMITS, Limits, SvgRefused, export_svg, import_svg, render_png
from svgx_canvas.complexity import check
from svgx_canvas.policy import Report
from svgx_canvas.svg_reader import read_svg
from tests.unit.canvas.client_documents import raw_document

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' width="1000" height="1000">'
)
RECT = '<rect width="1000" height="1000"/>'


def refusal(file: str, limits: Limits = DEFAULT_LIMITS) -> SvgRefused:
    with pytest.raises(SvgRefused) as refused:
        import_svg(file.encode(), None, limits)
    assert str(refused.value) == refused.value.detail
    return refused.value


def tower(rows: int, width: int, reference: Callable[[int], str], base: str = RECT) -> str:
    """Return a file with the element `base` and rows of references. Each row refers `width` times to the row before.

    `reference` returns one reference to the row with the given index.
    """
    parts = [f'<g id="r0">{base}</g>']
    parts += [f'<g id="r{index}">{reference(index - 1) * width}</g>' for index in range(1, rows)]
    return f"{HEAD}<defs>{''.join(parts)}</defs>{reference(rows - 1)}</svg>"


@pytest.mark.parametrize(
    ("field", "limits", "file"),
    [
        ("bytes", Limits(bytes=100), HEAD + RECT * 10 + "</svg>"),
        ("elements", Limits(elements=10), HEAD + RECT * 10 + "</svg>"),
        ("elements", Limits(elements=10), HEAD + "<unknown/>" * 10 + "</svg>"),
        ("depth", Limits(), HEAD + "<g>" * 96 + "</g>" * 96 + "</svg>"),
        ("depth", Limits(), HEAD + "<unknown>" * 96 + "</unknown>" * 96 + "</svg>"),
        (
            "attributes",
            Limits(attributes=3),
            f'{HEAD}<rect x="1" y="1" width="1" height="1"/></svg>',
        ),
        ("attribute_length", Limits(attribute_length=500), f'{HEAD}<path d="{"M" * 501}"/></svg>'),
        ("text_length", Limits(text_length=10), f"{HEAD}<text>{'x' * 11}</text></svg>"),
        (
            "text_length",
            Limits(text_length=10),
            f"{HEAD}<title>&amp;{'x<!-- -->' * 11}</title></svg>",
        ),
        (
            "style_length",
            Limits(style_length=10),
            f"{HEAD}<style>a{{}}</style><style>{' ' * 10}</style></svg>",
        ),
        (
            "style_matches",
            Limits(style_matches=10),
            f"{HEAD}<style>a,b{{}}c{{}}</style>{RECT * 4}</svg>",
        ),
    ],
)
def test_file_beyond_a_limit_is_refused(field: str, limits: Limits, file: str) -> None:
    refused = refusal(file, limits)
    assert (refused.code, refused.field) == ("too_large", field)
    assert refused.limit == getattr(limits, field)
    assert refused.actual is not None
    assert refused.limit is not None
    assert refused.actual > refused.limit
    assert field in refused.detail
    assert str(refused.limit) in refused.detail


def doctype(declarations: str, body: str = "") -> str:
    return f"<!DOCTYPE svg [{declarations}]><svg xmlns='http://www.w3.org/2000/svg'>{body}</svg>"


@pytest.mark.parametrize(
    ("code", "field", "file"),
    [
        ("too_large", "entity_expansion", doctype(f"<!ENTITY e '{'x' * 1000}'>", f"<title>{'&e;' * 17_000}</title>")),
        ("too_large", "entity_expansion", doctype(f"<!ENTITY é '{'x' * 1000}'>", f"<g id='{'&é;' * 17_000}'/>")),
        ("too_large", "entity_expansion", doctype(f"<!ENTITY e '{'x' * 9_000_000}'>", "<g id='&e;'/><g id='&e;'/>")),
        ("too_large", "entity_expansion", doctype(f"<!ENTITY e '{'x' * 100_000}'>", "<g id='&e;'/>" * 160)),
        ("too_large", "text_length", doctype(f"<!ENTITY e '{'x' * 1000}'>", f"<title>{'&e;' * 4400}</title>")),
        ("too_large", "declarations", doctype("".join(f"<!ELEMENT a{index} ANY>" for index in range(1100)))),
        ("forbidden", "entities", doctype("<!ENTITY a 'x'><!ENTITY b '&a;&a;'>", "&b;")),
        ("forbidden", "entities", doctype("<!ENTITY a '&#38;b;'><!ENTITY b 'x'>", "&a;")),
        ("forbidden", "entities", doctype("<!ENTITY a '<script/>'>", "&a;")),
        ("forbidden", "entities", doctype("<!ENTITY a SYSTEM 'file:///etc/passwd'>", "&a;")),
        ("forbidden", "entities", doctype("<!ENTITY a PUBLIC 'x' 'http://evil.example'>")),
        ("forbidden", "entities", doctype("<!ENTITY % a 'x'>")),
        ("forbidden", "entities", doctype("<!ENTITY % a SYSTEM 'http://evil.example'> %a;")),
    ],
)  # fmt: skip
def test_hostile_entities_are_refused(code: str, field: str, file: str) -> None:
    refused = refusal(file)
    assert (refused.code, refused.field) == (code, field)


def styled(count: int, length: int = 20, uses: int = 1) -> str:
    """Return a file as Illustrator writes it: with `count` entities for styles, and `uses` elements for each entity."""
    names = [f"st{index}" for index in range(count)]
    declared = "".join(f'<!ENTITY {name} "fill:#00f;{" " * (length - 10)}">' for name in names)
    rects = "".join(f'<rect width="9" height="9" style="&{name};"/>' * uses for name in names)
    return doctype(declared, rects)


@pytest.mark.parametrize(
    ("count", "length", "uses"),
    [(64, 20, 1), (65, 20, 1), (1000, 20, 3), (5000, 20, 1), (3, 5000, 100), (1, 1_000_000, 1), (10, 1025, 150)],
)  # fmt: skip
def test_number_and_length_of_entities_have_no_limit_of_their_own(
    count: int, length: int, uses: int
) -> None:
    """Only the bytes of the file and the expansion of its entities are bounded. Proves R-SVG-4."""
    imported = import_svg(
        styled(count, length, uses).encode(), None, Limits(style_length=2_000_000)
    )
    assert imported.elements == count * uses
    assert imported.dropped == []


def _mask(index: int) -> str:
    return (
        f'<mask id="m{index + 1}">{RECT.replace("/>", f""" mask="url(#m{index})"/>""") * 10}</mask>'
    )


def _through_undrawn(referring: str, target: str, *, first: bool) -> str:
    """Return a file with a circle that no renderer follows, because it passes through the content of `defs`.

    Each of 300 elements `referring` draws the element `target`, which draws the 1,000 rectangles of the group "g".
    The target is in the group itself, but in `defs`. The referring elements are before the group if `first` is true.
    """
    group = f'<g id="g">{RECT * 1000}<defs>{target}</defs></g>'
    return f"{HEAD}{referring * 300 * first}{group}{referring * 300 * (not first)}</svg>"


_IN_CIRCLES = {
    "use": ('<use href="#t"/>', '<g id="t"><use href="#r"/></g><g id="r"><use href="#g"/></g>'),
    "pattern": (
        '<rect fill="url(#t)"/>',
        '<pattern id="t"><rect fill="url(#r)"/></pattern><pattern id="r"><use href="#g"/></pattern>',
    ),
    "mask": (
        '<rect mask="url(#t)"/>',
        '<mask id="t"><rect mask="url(#r)"/></mask><mask id="r"><use href="#g"/></mask>',
    ),
    "clip path": (
        '<rect clip-path="url(#t)"/>',
        '<clipPath id="t" clip-path="url(#r)"/><clipPath id="r"><use href="#g"/></clipPath>',
    ),
    "marker": (
        '<path d="M0 0" marker-end="url(#t)"/>',
        '<marker id="t"><use href="#r"/></marker><g id="r"><use href="#g"/></g>',
    ),
    "filter": (
        '<rect filter="url(#t)"/>',
        '<filter id="t"><feImage href="#r"/></filter><g id="r"><use href="#g"/></g>',
    ),
    "style sheet": (
        '<rect class="t"/>',
        '<style>.t{fill:url(#t)}</style><pattern id="t"><use href="#r"/></pattern><g id="r"><use href="#g"/></g>',
    ),
}
"""References of each kind and their targets, for `_through_undrawn`."""


def _dense(count: int, content: str = "") -> str:
    """Return groups that all refer to each other. The last one also has `content`.

    The number of paths between two groups is larger than the factorial of `count` - 2.
    """
    uses = "".join(f'<use href="#a{index}"/>' for index in range(count))
    groups = [f'<g id="a{index}">{uses}</g>' for index in range(count - 1)]
    return "".join([*groups, f'<g id="a{count - 1}">{content}{uses}</g>'])


def _svg_picture(content: str) -> str:
    file = f"{HEAD}{content}</svg>".encode()
    return f'<image href="data:image/svg+xml;base64,{base64.b64encode(file).decode()}"/>'


def _numbered(text: str, count: int) -> str:
    """Return a text `count` times, each with the next number from 1 on in place of "{}"."""
    return "".join(text.format(index + 1) for index in range(count))


BOMBS = {
    **{
        f"circle of each {name}{' after its group' * (not first)}": _through_undrawn(*parts, first=first)
        for name, parts in _IN_CIRCLES.items()
        for first in (True, False)
    },
    "circles of all groups": f"{HEAD}{_dense(40)}</svg>",
    "circles with a long path": f"""{HEAD}{_dense(40, f'<path fill="url(#a0)" d="M0 0{"h1" * 1_000_000}"/>')}</svg>""",
    "circles in pictures": f"{HEAD}{_svg_picture(_dense(7)) * 100}</svg>",
    "use": tower(9, 10, lambda index: f'<use xlink:href="#r{index}"/>'),
    "use by href": tower(9, 10, lambda index: f'<use href="#r{index}"/>'),
    "tref": tower(9, 10, lambda index: f'<text><tref xlink:href="#r{index}"/></text>'),
    "masks": HEAD + "".join(map(_mask, range(9))) + '<g mask="url(#m9)"/></svg>',
    "masks in style attributes": HEAD
    + "".join(map(_mask, range(9))).replace('mask="url(#', 'style="mask: url(#')
    + '<g mask="url(#m9)"/></svg>',
    "masks in a style sheet": HEAD
    + "<style>"
    + "".join(f".m{index}{{mask:url('#m{index}')}}" for index in range(10))
    + "</style>"
    + "".join(f'<mask id="m{index + 1}">{f"""<rect class="m{index}"/>""" * 10}</mask>' for index in range(9))
    + '<g class="m9"/></svg>',
    "clip paths": HEAD
    + "".join(
        f'<clipPath id="m{index + 1}">{f"""<rect clip-path="url(#m{index})"/>""" * 10}</clipPath>' for index in range(9)
    )
    + '<g clip-path="url(#m9)"/></svg>',
    "patterns": HEAD
    + "".join(
        f'<pattern id="m{index + 1}">{f"""<rect fill="url(#m{index})"/>""" * 10}</pattern>' for index in range(9)
    )
    + '<rect fill="url(#m9)"/></svg>',
    "pattern inherited": HEAD
    + '<pattern id="p">' + RECT * 1000 + '</pattern><g fill="url(#p)">' + RECT * 1000 + "</g></svg>",
    "markers": HEAD
    + '<marker id="m">' + RECT * 1000 + '</marker><path marker-mid="url(#m)" d="M0 0' + "L1 1" * 1000 + '"/></svg>',
    **{
        f"markers of numbers separated by {name}": HEAD
        + '<marker id="m">'
        + RECT * 1000
        + '</marker><path marker-mid="url(#m)" d="M0 0'
        + f"{separator}1" * 2000
        + '"/></svg>'
        for name, separator in {
            "plus": "+",
            "minus": "-",
            "comma": ",",
            "tab": "&#9;",
            "line feed": "&#10;",
            "carriage return": "&#13;",
        }.items()
    },
    "markers inherited": HEAD
    + '<marker id="m">' + RECT * 1000 + '</marker><g style="marker:url(#m)"><path d="m0 0' + "h1" * 1000
    + '"/></g></svg>',
    "filter pictures": HEAD
    + RECT.replace("<rect", '<rect id="g0"')
    + "".join(
        f'<filter id="f{index}">{f"""<feImage href="#g{index - 1}"/>""" * 10}</filter>'
        f'<g id="g{index}" filter="url(#f{index})"/>'
        for index in range(1, 9)
    )
    + "</svg>",
    "depth by use": tower(150, 1, lambda index: f'<use xlink:href="#r{index}"/>'),
    "layers": HEAD + '<g opacity=".5">' * 70 + RECT + "</g>" * 70 + "</svg>",
    "layers of masks": HEAD
    + "".join(f'<mask id="m{index + 1}" mask="url(#m{index})">{RECT}</mask>' for index in range(90))
    + '<g mask="url(#m90)"/></svg>',
    "patterns inherited from one style": HEAD
    + _numbered('<pattern id="p{}"/>', 1000)
    + '<g style="' + _numbered("fill:url(#p{});", 1000) + '">' + "<rect/>" * 10_000 + "</g></svg>",
    **{
        f"{count} {name}s of one class in {elements} elements": HEAD
        + "<style>" + _numbered(f".a{{{{{prop}:url(#p{{}})}}}}", count) + "</style>"
        + _numbered(f'<{name} id="p{{}}"/>', count)
        + '<g class="a">' + '<rect class="a"/>' * elements + "</g></svg>"
        for name, prop, count, elements in (
            ("pattern", "fill", 1000, 10_000),
            ("pattern", "stroke", 3000, 12_000),
            ("marker", "marker-end", 3000, 12_000),
            ("mask", "mask", 3000, 12_000),
        )
    },
    "layers of one class in many elements": HEAD
    + "<style>" + _numbered(".a{{opacity:.{}}}", 2000) + "</style>" + '<g class="a"/>' * 20_000 + "</svg>",
    "declarations of many selectors": HEAD
    + "<style>" + _numbered(".a{},", 30_000) + "a{" + _numbered("opacity:.{};", 14_000) + "}</style><g/></svg>",
    "references of many classes": HEAD
    + "<style>" + _numbered(".a{},", 1000) + ".b{mask:" + "url(#m)" * 1400 + '}</style><mask id="m"/>'
    + '<g class="' + _numbered("a{} ", 1000) + '"/></svg>',
    "filter steps": HEAD + '<filter id="f">' + "<feOffset/>" * 100 + '</filter><g filter="url(#f)"/></svg>',
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_expansion_bomb_is_refused_on_import_export_and_rendering(name: str) -> None:
    file = BOMBS[name]
    refused = refusal(file)
    assert refused.code == "too_large"
    assert refused.field in ("expanded_elements", "expanded_depth", "layers", "depth")
    with pytest.raises(SvgRefused):
        render_png(file.encode())
    state = raw_document(file.encode())
    assert state is not None
    with pytest.raises(SvgRefused):
        export_svg(state)


def test_declarations_that_resvg_reads_for_very_many_selectors_are_refused() -> None:
    """Proves R-SVG-4: resvg reads the declarations of a rule once for each selector of the rule."""
    sheet = _numbered(".a{},", 5000) + ".b{fill:" + "1 " * 11_000 + "}"
    refused = refusal(f"{HEAD}<style>{sheet}</style><rect/></svg>")
    assert (refused.code, refused.field) == ("too_large", "style_matches")


def png_url(width: int, height: int) -> str:
    """Return a `data:` URL with the header of a PNG of this size."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return "data:image/png;base64," + base64.b64encode(head + b"\x01" + bytes(8)).decode()


def test_pixels_of_embedded_images_are_bounded() -> None:
    assert refusal(f'{HEAD}<image href="{png_url(20_000, 20_000)}"/></svg>').field == "image_pixels"
    shown_often = f'<image id="i" href="{png_url(2000, 2000)}"/>' + '<use href="#i"/>' * 10
    assert refusal(HEAD + shown_often + "</svg>").field == "image_pixels"


@pytest.mark.parametrize(
    "scheme", ["data:", "DATA:", "da&#9;ta:", "d&#9;&#9;ata&#9;:", "\\64 ata:"]
)
@pytest.mark.parametrize("attribute", ["style='background:url(\"{}\")'", "cursor='url(\"{}\")'"])
def test_pixels_of_bitmaps_in_css_are_bounded_for_each_spelling_of_the_scheme(
    attribute: str, scheme: str
) -> None:
    """Browsers ignore tabs in the scheme of a URL. An export keeps pictures that are not counted (R-STATE-17)."""
    attribute = attribute.format(png_url(5000, 5000).replace("data:", scheme))
    assert refusal(f"{HEAD}{f'<rect {attribute}/>' * 2}</svg>").field == "image_pixels"
    assert import_svg(f"{HEAD}<rect {attribute}/></svg>".encode(), None).dropped == []


@pytest.mark.parametrize(
    ("field", "size", "body"),
    [
        ("side", 'width="100000" height="10"', ""),
        ("pixels", 'width="10000" height="10000"', ""),
        ("pixels", 'width="300cm" height="100cm"', ""),
        ("pixels", 'viewBox="0 0 10000 10000"', ""),
        ("side", 'viewBox="0 0 1e30 1e-30"', ""),
        ("side", "", '<rect width="1e9" height="1e9"/>'),
        ("side", "", '<rect width="60000" height="60000"/>'),
        ("layer_bytes", 'width="4000" height="4000"', '<g opacity=".5">' * 20 + RECT + "</g>" * 20),
        (
            "filter_operations",
            'width="1000" height="1000"',
            f'<filter id="f"><feMorphology radius="50"/></filter><g filter="url(#f)">{RECT}</g>',
        ),
        (
            "filter_operations",
            'width="1000" height="1000"',
            f'<filter id="f"><feTurbulence numOctaves="999"/></filter><g filter="url(#f)">{RECT}</g>',
        ),
        (
            "filter_operations",
            'width="1000" height="1000"',
            f'<filter id="f"><feConvolveMatrix order="100"/></filter><g filter="url(#f)">{RECT}</g>',
        ),
        *[
            (
                "filter_operations",
                'width="1000" height="1000"',
                f'<filter id="f">{step}</filter><g filter="url(#f)">{RECT}</g>',
            )
            for step in (
                f'<feMorphology radius="{" " * 201}50"/>',
                f'<feTurbulence numOctaves="{"0" * 10_001}999"/>',
                f'<feConvolveMatrix order="{" " * 10_001}100"/>',
                '<feConvolveMatrix order="100x1"/>',
                '<feMorphology radius="5000 0"/>',
            )
        ],
        (
            "pattern_pixels",
            'width="9" height="9"',
            f'<pattern id="p" width="9" height="9" patternTransform="{" " * 10_001}scale(9999)"/>',
        ),
        (
            "pattern_pixels",
            'width="9" height="9"',
            '<pattern id="p" width="9e4" height="9e4" patternUnits="userSpaceOnUse"/>',
        ),
        (
            "pattern_pixels",
            'width="9" height="9"',
            (
                '<pattern id="p" width="1" height="1"/><pattern id="q" href="#p"/>'
                '<pattern href="#q" patternTransform="scale(9999)"/>'
            ),
        ),
        (
            "pattern_pixels",
            'width="9" height="9"',
            '<pattern id="p" width="1" height="1" patternTransform="scale(9999) matrix(99 0 0 99 0 0)"/>',
        ),
    ],
)
def test_rendering_beyond_a_limit_is_refused(field: str, size: str, body: str) -> None:
    file = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{body}</svg>'.encode()
    import_svg(file, None)
    with pytest.raises(SvgRefused) as refused:
        render_png(file)
    assert (refused.value.code, refused.value.field) == ("too_large", field)


def test_file_at_its_limits_is_imported_and_rendered() -> None:
    nested = HEAD + '<svg x="1" width="100" height="100">' * 94 + RECT + "</svg>" * 95
    assert import_svg(nested.encode(), None).elements == 95
    assert render_png(nested.encode(), 10, 10).startswith(b"\x89PNG")
    groups = HEAD + '<g opacity=".9" transform="scale(1)">' * 63 + RECT + "</g>" * 63 + "</svg>"
    assert render_png(groups.encode(), 10, 10).startswith(b"\x89PNG")
    uses = tower(31, 1, lambda index: f'<use xlink:href="#r{index}"/>')
    assert render_png(uses.encode(), 10, 10).startswith(b"\x89PNG")


def test_file_with_circular_references_is_imported() -> None:
    ring = "".join(f'<g id="a{index}"><use href="#a{(index + 1) % 9}"/></g>' for index in range(9))
    masks = '<mask id="m" mask="url(#m)"><rect mask="url(#m)"/></mask><rect mask="url(#m)" fill="url(#p)"/>'
    import_svg(f'{HEAD}{ring}{masks}<pattern id="p" href="#p"/></svg>'.encode(), None)


def _expanded(index: int, uses: list[list[int]], path: frozenset[int]) -> tuple[int, int]:
    """Return the elements and levels of group `index` after expansion, computed by expanding it.

    Group `index` has a `use` element for each number in `uses[index]`. `path` has the groups around it.
    """
    elements, depth = 1, 1
    path |= {index}
    for target in uses[index]:
        inner = (0, 0) if target in path else _expanded(target, uses, path)
        elements += 1 + inner[0]
        depth = max(depth, 2 + inner[1])
    return elements, depth


def test_cost_of_circular_references_is_an_upper_bound_of_the_expansion() -> None:
    """Neither the order of the elements nor a circle hides a part of the cost. Proves R-SVG-4."""
    generator = random.Random(4)
    circular = 0
    for _ in range(500):
        count = generator.randint(2, 6)
        uses = [
            [generator.randrange(count) for _ in range(generator.randint(0, 2))]
            for _ in range(count)
        ]
        groups = (
            f'<g id="a{index}">{"".join(f"""<use href="#a{target}"/>""" for target in targets)}</g>'
            for index, targets in enumerate(uses)
        )
        file = f"{HEAD}{''.join(groups)}</svg>".encode()
        limits = Limits(expanded_elements=10_000_000, expanded_depth=1000)
        cost = check(read_svg(file, limits, Report()), limits)
        expansions = [_expanded(index, uses, frozenset()) for index in range(count)]
        elements = 1 + sum(elements for elements, _ in expansions)
        depth = 1 + max(depth for _, depth in expansions)
        assert cost.elements >= elements, uses
        assert cost.depth >= depth, uses
        if _has_circle(uses):
            circular += 1
        else:
            assert (cost.elements, cost.depth) == (elements, depth), uses
    assert 100 < circular < 400


def _has_circle(uses: list[list[int]]) -> bool:
    reached = [set(targets) for targets in uses]
    for _ in uses:
        for targets in reached:
            targets.update(*(reached[target] for target in list(targets)))
    return any(index in targets for index, targets in enumerate(reached))


class Confined(TypedDict):
    """The result of a confined process."""

    codes: list[str]
    """The code of the refusal, or `accepted`, of the import and of the rendering."""
    seconds: float
    """Seconds of processor time."""


_CONFINED_SCRIPT = """
import json, os, resource, signal, sys
from svgx_canvas import SvgRefused, import_svg, render_png

def handle(file):
    signal.alarm(60)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    # Allow 64 MiB more than the program itself uses.
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
    codes = []
    for call in (lambda: import_svg(file, None), lambda: render_png(file)):
        try:
            call()
            codes.append("accepted")
        except SvgRefused as refused:
            codes.append(refused.code)
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    print(json.dumps({"codes": codes, "seconds": seconds}), flush=True)

for size in sys.stdin.buffer:
    file = sys.stdin.buffer.read(int(size))
    if (child := os.fork()) == 0:
        handle(file)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("null", flush=True)
"""


@pytest.fixture(scope="module")
def confined() -> Iterator[Callable[[bytes], Confined | None]]:
    """Return a function that imports and renders a file in a new process with 64 MiB of memory.

    The function returns the result of the process, or None if the process fails or takes a minute. All processes are
    forks of one process, because its imports take more time than a file.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _CONFINED_SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        files, results = process.stdin, process.stdout
        assert files is not None
        assert results is not None

        def handle(file: bytes) -> Confined | None:
            files.write(b"%d\n" % len(file) + file)
            files.flush()
            result: Confined | None = json.loads(results.readline())
            return result

        yield handle


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "name", ["billion laughs", "quadratic blow-up", "entities", "rules", "gzip", *BOMBS]
)
def test_bombs_are_refused_within_64_mib_and_5_seconds(
    name: str, confined: Callable[[bytes], Confined | None]
) -> None:
    laughs = "".join(f"<!ENTITY l{index} '{f'&l{index - 1};' * 10}'>" for index in range(1, 10))
    files = {
        "billion laughs": doctype(f"<!ENTITY l0 'ha'>{laughs}", "<text>&l9;</text>"),
        "quadratic blow-up": doctype(
            f"<!ENTITY a '{'a' * 50_000}'>", f"<text>{'&a;' * 50_000}</text>"
        ),
        # Each of 300,000 references is looked up once, not compared with each of 50,000 entities.
        "entities": doctype(
            "".join(f"<!ENTITY e{index} '{'x' * 60}'>" for index in range(50_000)),
            f"<text>{'&e9;' * 300_000}</text>",
        ),
        "rules": f"{HEAD}<style>{'*{fill:red}' * 20_000}</style>{'<g/>' * 90_000}</svg>",
    }
    file = files.get(name, BOMBS.get(name, "")).encode()
    if name == "gzip":
        # resvg reads compressed SVG (svgz). Without the refusal it would decompress this file to 6 MB.
        file = zlib.compress(b"<svg/>" * 1_000_000, wbits=31)
    result = confined(file)
    assert result is not None
    assert "accepted" not in result["codes"]
    assert result["seconds"] < 5
