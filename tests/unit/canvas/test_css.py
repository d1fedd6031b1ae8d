"""CSS that fetches nothing is kept. Other CSS is dropped, and its neighbours are kept. Proves R-SVG-2 and R-SVG-3."""

import pytest
from lxml import etree

from svgx_canvas import css, export_svg, import_svg
from svgx_canvas.limits import DEFAULT_LIMITS
from tests.unit.canvas.audit import problems
from tests.unit.canvas.css_cases import (
    FETCHING_RULES,
    FETCHING_VALUES,
    KEPT_DECLARATIONS,
    KEPT_SHEETS,
    PICTURE_PROPERTIES,
    RECOVERED_SHEETS,
    SHORTHANDS,
)

Reports = list[tuple[str, str]]


def cleaned_sheet(text: str) -> tuple[str, Reports]:
    """Return a style sheet after cleaning, and the reports. A second cleaning changes nothing."""
    reports: Reports = []
    cleaned = css.clean_stylesheet(
        text, DEFAULT_LIMITS, lambda what, reason: reports.append((what, reason))
    )
    again: Reports = []
    second = css.clean_stylesheet(
        cleaned, DEFAULT_LIMITS, lambda what, reason: again.append((what, reason))
    )
    assert (second, again) == (cleaned, [])
    return cleaned, reports


def cleaned_declarations(text: str) -> tuple[str, Reports]:
    """Return a `style` attribute after cleaning, and the reports."""
    reports: Reports = []
    cleaned = css.clean_declarations(text, lambda what, reason: reports.append((what, reason)))
    return cleaned, reports


def audited(sheet: str) -> str:
    """Return the text of a style sheet after import and export. Check that the audit finds no problem in the export."""
    root = etree.Element("{http://www.w3.org/2000/svg}svg")
    etree.SubElement(root, "{http://www.w3.org/2000/svg}style").text = sheet
    out = export_svg(import_svg(etree.tostring(root), None).update)
    assert problems(out) == []
    return etree.fromstring(out)[0].text or ""


@pytest.mark.parametrize("name", KEPT_SHEETS)
def test_style_sheet_that_fetches_nothing_is_unchanged(name: str) -> None:
    """Proves R-SVG-11: nesting, at-rules and functions that fetch nothing pass."""
    sheet = KEPT_SHEETS[name]
    assert cleaned_sheet(sheet) == (sheet, [])
    audited(sheet)


@pytest.mark.parametrize("declaration", KEPT_DECLARATIONS)
def test_declaration_that_fetches_nothing_is_unchanged(declaration: str) -> None:
    """Proves R-SVG-11: functions that fetch nothing, and pictures in `data:` URLs, pass."""
    assert cleaned_declarations(declaration) == (declaration, [])
    out, reports = cleaned_sheet(f".a{{{declaration}}}")
    assert reports == []
    assert set(declaration) & set('"<') or out == f".a{{{declaration}}}"
    audited(f".a{{{declaration}}}")


@pytest.mark.parametrize("name", SHORTHANDS)
def test_shorthand_of_allowed_properties_is_kept(name: str) -> None:
    """Proves R-SVG-11: a shorthand passes if its longhands pass."""
    declaration = f"{name}:{SHORTHANDS[name]}"
    assert cleaned_declarations(declaration) == (declaration, [])
    assert cleaned_declarations(f"/**/{declaration}") == (f"/**/{declaration}", [])
    assert cleaned_sheet(f".a{{{declaration}}}") == (f".a{{{declaration}}}", [])


@pytest.mark.parametrize("name", RECOVERED_SHEETS)
def test_rest_of_a_style_sheet_is_kept_after_an_error(name: str) -> None:
    """Proves R-SVG-12: the rest of a style sheet is kept after an invalid declaration or rule."""
    sheet, expected = RECOVERED_SHEETS[name]
    assert cleaned_sheet(sheet)[0] == expected
    audited(sheet)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fill red;stroke:#0f0", "stroke:#0f0"),
        ("fill:unknown(1);stroke:#0f0", "stroke:#0f0;"),
        (".b{fill:red} r:1px;stroke:#0f0", "stroke:#0f0;"),
        ("--x: a {b} c;fill:red{};stroke:#0f0", "--x: a {b} c;stroke:#0f0;"),
        ("@media print{fill:red} stroke:#0f0", "stroke:#0f0;"),
        ("fill:'x\n;stroke:#0f0", "stroke:#0f0;"),
        ("fill:url(a b);stroke:#0f0", "stroke:#0f0;"),
        ("unknown:url(#a);stroke:#0f0", "stroke:#0f0;"),
        ("--x:{a;b};stroke:#0f0", "--x:{a;b};stroke:#0f0"),
        (";;stroke:#0f0;", ";;stroke:#0f0;"),
    ],
)
def test_rest_of_a_style_attribute_is_kept_after_an_error(text: str, expected: str) -> None:
    """Proves R-SVG-12: the rest of a `style` attribute is kept after an invalid declaration."""
    assert cleaned_declarations(text)[0] == expected


@pytest.mark.parametrize("value", FETCHING_VALUES)
@pytest.mark.parametrize("name", ["fill", "background", "--x"])
def test_value_that_fetches_is_dropped_and_its_neighbours_are_kept(name: str, value: str) -> None:
    """Only the declaration with the value is dropped. Proves R-SVG-3 and R-SVG-12."""
    for sheet in (f".a{{r:1px;{name}:{value};", f"@layer x{{.b{{.a{{r:1px;{name}:{value};"):
        out = audited(sheet)
        assert "r:1px" in out
        assert name + ":" not in out
    text, reports = cleaned_declarations(f"r:1px;{name}:{value}")
    assert text == "r:1px;"
    assert reports == [(f"{name}()", "reference")]
    assert not css.value_is_safe(name, value)


@pytest.mark.parametrize("name", PICTURE_PROPERTIES)
def test_fragment_as_a_picture_is_dropped(name: str) -> None:
    """In these properties, a browser reads `url(#a)` as a picture and fetches the document again. Proves R-SVG-3."""
    for value in ("url(#a)", "url('#a')", "var(--x,url(#a))", "light-dark(url(#a),red)"):
        assert cleaned_declarations(f"r:1px;{name}:{value}")[0] == "r:1px;"
        assert not css.value_is_safe(name, value)


@pytest.mark.parametrize("name", FETCHING_RULES)
def test_rule_that_fetches_is_dropped_and_its_neighbours_are_kept(name: str) -> None:
    """The rules before and after a dropped rule are kept. Proves R-SVG-3 and R-SVG-12."""
    rule = FETCHING_RULES[name]
    out = audited(f".first{{r:1px}}{rule}")
    assert ".first{r:1px;}" in out
    assert "evil" not in out
    if name not in ("unclosed", "import after a brace"):
        assert ".last{r:2px;}" in audited(f"{rule}.last{{r:2px}}")


def test_safe_sources_of_a_font_are_kept_beside_a_fetched_one() -> None:
    """Proves R-SVG-11: a font keeps the files that are not fetched."""
    sheet = (
        "@font-face{src:url(http://e/x),local(A) format(woff2),url(data:font/ttf;base64,AAEAAAAB)}"
    )
    out, reports = cleaned_sheet(sheet)
    assert out == "@font-face {src:local(A) format(woff2),url(data:font/ttf;base64,AAEAAAAB);}"
    assert reports == [("src()", "reference")]


@pytest.mark.parametrize(
    ("selectors", "keys"),
    [
        (".a", {("class", "a")}),
        ("g .a, rect#b", {("class", "a"), ("id", "b")}),
        ("s|rect", {("type", "rect")}),
        ("*|rect", {("type", "rect")}),
        ("|rect", {("type", "rect")}),
        ("s|*", {("any", "")}),
        ("&", {("any", "")}),
        ("&.a", {("class", "a")}),
        (".a &", {("any", "")}),
        (".a>rect", {("type", "rect")}),
        (".a||rect", {("type", "rect")}),
        (":is(.a)", {("any", "")}),
        (".a:hover", {("class", "a")}),
        ("[x=y]", {("any", "")}),
    ],
)
def test_selector_key_matches_all_elements_of_the_selector(
    selectors: str, keys: set[tuple[str, str]]
) -> None:
    """Proves R-SVG-4: a key may also match other elements, because the computed cost must be an upper bound."""
    sheet = f"{selectors}{{mask:url(#m)}}"
    found, _ = css.sheet_declarations(sheet, frozenset({"mask"}))
    assert [*found] == [keys]


@pytest.mark.parametrize(
    ("sheet", "keys"),
    [
        (".a{.b{mask:url(#m)}}", {("class", "b")}),
        (".a{@media print{mask:url(#m)}}", {("class", "a")}),
        (".a{&{mask:url(#m)}}", {("any", "")}),
        ("@layer x{@supports (r:1){.a{mask:url(#m)}}}", {("class", "a")}),
        ("@scope (.a){mask:url(#m)}", {("any", "")}),
        ("@keyframes k{from,to{mask:url(#m)}}", {("any", "")}),
        (".a{x:y;.b{}mask:url(#m)}", {("class", "a")}),
    ],
)
def test_nested_declaration_counts_for_its_elements(sheet: str, keys: set[tuple[str, str]]) -> None:
    """Proves R-SVG-4: nested declarations count, because the computed cost must be an upper bound."""
    found, _ = css.sheet_declarations(sheet, frozenset({"mask"}))
    assert [*found] == [keys]
