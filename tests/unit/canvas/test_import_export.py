"""Import of SVG into a document, and export. Proves R-SVG-2."""

import json

import pytest
from pycrdt import Doc, Map

from svgx_canvas import Dropped, SvgRefused, export_json, export_svg, import_svg
from svgx_canvas.document.element_tree import load, read

XMLNS = 'xmlns="http://www.w3.org/2000/svg"'


def svg(body: str = "", attrs: str = "") -> bytes:
    return f"<svg {XMLNS} {attrs}>{body}</svg>".encode()


def round_trip(file: bytes) -> str:
    return export_svg(import_svg(file, None).update).decode()


def test_drawing_is_exported_as_it_was_imported() -> None:
    body = (
        '<g fill="none" id="a"><rect height="2" width="1"/></g>'
        "<text>one <tspan>two</tspan> three &amp; &lt;four&gt;</text>"
    )
    file = f'<svg {XMLNS} viewBox="0 0 10 10">{body}</svg>'
    assert round_trip(file.encode()) == file


def test_namespaces_and_special_characters_are_kept() -> None:
    file = (
        '<x:svg xmlns:x="http://www.w3.org/2000/svg" xmlns:l="http://www.w3.org/1999/xlink">'
        '<x:use l:href="#a"/><x:text xml:space="preserve" aria-label="&quot;&#10;&#9;&lt;&amp;">a\n b</x:text></x:svg>'
    )
    out = round_trip(file.encode())
    assert 'xmlns:xlink="http://www.w3.org/1999/xlink"' in out
    assert '<use xlink:href="#a"/>' in out
    assert '<text aria-label="&quot;&#10;&#9;&lt;&amp;" xml:space="preserve">a\n b</text>' in out
    assert round_trip(out.encode()) == out


def test_white_space_outside_of_texts_is_ignored() -> None:
    imported = import_svg(svg("\n  <g>\n <rect/> \n</g>\n"), None)
    assert imported.elements == 2
    assert imported.dropped == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_supported_encoding_is_decoded(encoding: str) -> None:
    head = (
        ""
        if encoding in ("utf-8-sig", "utf-16")
        else f'<?xml version="1.0" encoding="{encoding}"?>'
    )
    file = f"{head}<svg {XMLNS}><title>é</title></svg>".encode(encoding)
    assert "<title>é</title>" in round_trip(file)


def test_unknown_or_wrong_encoding_is_refused() -> None:
    for file in (b'<?xml version="1.0" encoding="cp037"?><svg/>', b"<svg>\xff</svg>"):
        with pytest.raises(SvgRefused) as refused:
            import_svg(file, None)
        assert (refused.value.code, refused.value.field) == ("malformed", "encoding")


@pytest.mark.parametrize(
    "file", [b"", b"<svg", b"<html/>", b"<svg><g></svg>", b'<x:svg xmlns:x="urn:x"/>', b"\x00"]
)
def test_file_that_is_not_svg_is_refused(file: bytes) -> None:
    with pytest.raises(SvgRefused) as refused:
        import_svg(file, None)
    assert refused.value.code == "malformed"


def test_root_without_a_namespace_counts_as_svg() -> None:
    assert round_trip(b'<svg><rect width="1"/></svg>') == f'<svg {XMLNS}><rect width="1"/></svg>'


def test_document_type_of_the_w3c_is_accepted_and_not_fetched() -> None:
    dtd = (
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" ['
        '<!ENTITY ns_svg "http://www.w3.org/2000/svg"><!ENTITY white "#ffffff">'
        '<!ATTLIST rect onload CDATA "alert(1)">]>'
    )
    file = f'<?xml version="1.0"?>{dtd}<svg xmlns="&ns_svg;"><rect fill="&white;"/><text>x</text></svg>'
    assert round_trip(file.encode()) == f'<svg {XMLNS}><rect fill="#ffffff"/><text>x</text></svg>'


_XHTML = '"-//W3C//DTD XHTML 1.1 plus MathML 2.0 plus SVG 1.1//EN" "http://www.w3.org/2002/04/xhtml-math-svg/x.dtd"'


@pytest.mark.parametrize(
    ("head", "line", "column"),
    [
        ("", 1, 0),
        ('<?xml version="1.0"?>', 1, 21),
        ('<?xml version="1.0" encoding="iso-8859-1" standalone="no" ?>\n', 2, 0),
        ("<?xml version='1.0'\r\nstandalone = 'no'?>", 2, 19),
        ('<?xml version="1.0" standalone="yes"?>', 1, 38),
        ("\n<!-- standalone -->", 1, 19),
    ],
)
@pytest.mark.parametrize(
    ("content", "index"), [("<text>A&copy;B</text>", 7), ('<rect x="&a;&#65;&amp;&copy;&b;"/>', 0)]
)
def test_reference_to_an_undeclared_entity_is_refused_with_its_name_and_place(
    content: str, index: int, head: str, line: int, column: int
) -> None:
    """The place is that of the reference, or that of the element with the attribute. Proves R-SVG-17."""
    before = f"<!DOCTYPE svg PUBLIC {_XHTML} [<!ENTITY a 'b'>]><svg {XMLNS}><g id='&a;'/>"
    file = f"{head}{before}{content}</svg>".encode()
    with pytest.raises(SvgRefused) as refused:
        import_svg(file, None)
    column += len(before) + index
    assert (refused.value.code, refused.value.field) == ("malformed", "svg")
    assert f"undefined entity copy (line {line}, column {column})" in refused.value.detail


@pytest.mark.parametrize("head", ["<?xml encoding='utf-8'?>", "<?xml ?>"])
def test_malformed_xml_declaration_is_refused(head: str) -> None:
    with pytest.raises(SvgRefused) as refused:
        import_svg(f"{head}<svg {XMLNS}/>".encode(), None)
    assert refused.value.code == "malformed"


def test_default_of_an_attribute_in_the_document_type_is_reported() -> None:
    """Such a default is not added to the elements. Only the defaults of namespaces count. Proves R-SVG-17."""
    dtd = (
        '<!ATTLIST rect fill CDATA "red" x CDATA #IMPLIED y CDATA #FIXED "1">'
        f'<!ATTLIST svg xmlns CDATA #FIXED "{XMLNS[7:-1]}" xmlns:a CDATA "urn:a" width CDATA #REQUIRED>'
    )
    imported = import_svg(f"<!DOCTYPE svg [{dtd}]><svg><rect x='2'/></svg>".encode(), None)
    assert export_svg(imported.update).decode() == f'<svg {XMLNS}><rect x="2"/></svg>'
    assert set(imported.dropped) == {
        Dropped("rect@fill", "doctype default", 1),
        Dropped("rect@y", "doctype default", 1),
    }


@pytest.mark.parametrize("system", ["file:///etc/passwd", "http://example.org/a.dtd", "local.dtd"])
def test_external_document_type_is_refused(system: str) -> None:
    """Proves R-SVG-1: only document types of the W3C are accepted."""
    with pytest.raises(SvgRefused) as refused:
        import_svg(f'<!DOCTYPE svg SYSTEM "{system}"><svg {XMLNS}/>'.encode(), None)
    assert (refused.value.code, refused.value.field) == ("forbidden", "doctype")


def test_dropped_parts_are_reported() -> None:
    file = svg(
        '<script>alert(1)</script><rect onclick="a()" fill="url(http://x/)" foo="1"/>'
        '<rect onclick="a()"/><i:pgf xmlns:i="urn:i"/><?xml-stylesheet href="a.css"?>'
    )
    assert set(import_svg(file, None).dropped) == {
        Dropped("script", "element", 1),
        Dropped("rect@onclick", "event handler", 2),
        Dropped("rect@fill", "reference", 1),
        Dropped("rect@foo", "attribute", 1),
        Dropped("pgf", "namespace", 1),
        Dropped("<?xml-stylesheet?>", "processing instruction", 1),
    }


def test_report_of_a_thousand_kinds_stays_short() -> None:
    body = "".join(f"<x{index}/>" for index in range(1000))
    dropped = import_svg(svg(body), None).dropped
    assert len(dropped) <= 210
    assert sum(item.count for item in dropped) == 1000


def test_import_replaces_the_content() -> None:
    first = import_svg(svg("<rect/><g><circle/></g>", 'width="10" viewBox="0 0 1 1"'), None)
    doc: Doc[Map[object]] = Doc()
    doc.apply_update(first.update)
    second = import_svg(svg("<path/>", 'width="10" height="5"'), doc.get_update())
    doc.apply_update(second.update)
    assert (
        export_svg(doc.get_update()).decode() == f'<svg {XMLNS} height="5" width="10"><path/></svg>'
    )
    assert second.elements == 1


def test_update_of_an_import_is_as_small_as_the_change() -> None:
    body = "".join(f'<rect id="r{index}" width="{index}"/>' for index in range(2000))
    first = import_svg(svg(body, 'width="10"'), None)
    second = import_svg(svg("", 'width="10"'), first.update)
    assert len(second.update) < 60
    third = import_svg(svg("<g/>", 'width="10"'), load(first.update, second.update).get_update())
    assert len(third.update) < 120


def test_edit_concurrent_to_an_import_is_kept() -> None:
    first = import_svg(svg("<rect/>"), None)
    client: Doc[Map[object]] = Doc()
    client.apply_update(first.update)
    with client.transaction():
        client.get("elements", type=Map)["new"] = Map(
            {"tag": "circle", "parent": "", "order": "a9"}
        )
    second = import_svg(svg("<path/>"), first.update)
    client.apply_update(second.update)
    assert "<path/><circle/>" in export_svg(client.get_update()).decode()


def test_import_into_a_state_of_many_clients_replaces_the_content() -> None:
    updates = []
    for client in (1, 127, 128, 2**32 - 1, 2**53 - 1):
        doc: Doc[Map[object]] = Doc(client_id=client)
        with doc.transaction():
            doc.get("elements", type=Map)[f"k{client}"] = Map({"tag": "g"})
        updates.append(doc.get_update())
    state = load(*updates).get_update()
    doc = load(state)
    doc.apply_update(import_svg(svg("<path/>"), state).update)
    assert [element.tag for element in read(doc).walk()] == ["path"]


def test_malformed_state_is_refused() -> None:
    for call in (export_svg, export_json):
        with pytest.raises(SvgRefused) as refused:
            call(b"\x01\x02\x03")
        assert (refused.value.code, refused.value.field) == ("malformed", "state")
    with pytest.raises(SvgRefused):
        import_svg(svg(), b"no update")


def test_json_has_the_elements_in_document_order() -> None:
    file = svg('<g id="a"><text>x</text></g><rect width="1"/>', 'viewBox="0 0 1 1"')
    content = json.loads(export_json(import_svg(file, None).update))
    assert content["canvas"] == {"viewBox": "0 0 1 1"}
    elements = content["elements"]
    assert [element["tag"] for element in elements] == ["g", "text", "#text", "rect"]
    group, text, characters, rect = elements
    assert (group["parent"], text["parent"], characters["parent"]) == ("", group["id"], text["id"])
    assert characters["text"] == "x"
    assert group["attrs"] == {"id": "a"}
    assert (group["order"], rect["order"]) == ("a0", "a1")


def test_encoded_update_equals_the_update_of_pycrdt() -> None:
    body = "".join(
        f'<g class="é😀 {index}"><text x="{index}">{"long" * 50}</text></g>' for index in range(300)
    )
    update = import_svg(svg(body), None).update
    doc = load(update)
    assert doc.get_update() == update
    elements = list(read(doc).walk())
    assert len(elements) == 900
    texts = [element for element in elements if element.tag == "text"]
    assert [element.attrs["x"] for element in texts] == [str(index) for index in range(300)]
    assert {element.text for element in elements if element.tag == "#text"} == {"long" * 50}
