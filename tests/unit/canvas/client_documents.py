"""Build documents as a Yjs client can write them: without policy and limits."""

from collections.abc import Mapping

from lxml import etree
from pycrdt import Doc, Map

from svgx_canvas.document.order import first_keys

_PREFIXES = {
    "http://www.w3.org/1999/xlink": "xlink:",
    "http://www.w3.org/XML/1998/namespace": "xml:",
}


def document(elements: Mapping[str, object], canvas: Mapping[str, object] | None = None) -> bytes:
    """Return the state of a document with these entries in the map `elements`. A dict becomes a Y map."""
    doc: Doc[Map[object]] = Doc()
    with doc.transaction():
        root = doc.get("canvas", type=Map)
        for name, value in (canvas or {}).items():
            root[name] = value
        target = doc.get("elements", type=Map)
        for identifier, content in elements.items():
            target[identifier] = _y_value(content)
    return doc.get_update()


def _y_value(content: object) -> object:
    """Return the content with each dict, at any level, as a Y map."""
    if isinstance(content, dict):
        return Map({name: _y_value(value) for name, value in content.items()})
    return content


def raw_document(svg: bytes) -> bytes | None:
    """Return the state of the document that a careless or hostile client makes of a file, without cleaning it.

    Return None if even a recovering parser finds no tree in the file.
    """
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    # The type annotations of lxml omit that a recovering parser may return None.
    root: etree._Element | None = etree.fromstring(svg, parser)
    if root is None:
        return None
    elements: dict[str, object] = {}
    orders = first_keys(30_000)

    def add(content: dict[str, object], parent: str) -> str:
        identifier = f"e{len(elements)}"
        elements[identifier] = {"parent": parent, "order": orders[len(elements)], **content}
        return identifier

    stack = [(root, "")]
    while stack:
        node, parent = stack.pop()
        if not isinstance(node.tag, str):
            continue
        attrs = {_prefixed(str(name)): str(value) for name, value in node.attrib.items()}
        element_id = add({"tag": node.tag.rpartition("}")[2], "attrs": attrs}, parent)
        if node.text:
            add({"tag": "#text", "text": node.text}, element_id)
        stack += [(child, element_id) for child in reversed(node)]
    canvas = {_prefixed(str(name)): str(value) for name, value in root.attrib.items()}
    return document(elements, canvas)


def _prefixed(name: str) -> str:
    namespace, _, local = name.rpartition("}")
    return _PREFIXES.get(namespace[1:], "") + local
