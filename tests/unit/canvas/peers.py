"""What any Yjs client can write into a canvas's document: no policy, no limits."""

from collections.abc import Mapping

from lxml import etree
from pycrdt import Doc, Map

from svgx_canvas.document.order import first_keys

_PREFIXES = {
    "http://www.w3.org/1999/xlink": "xlink:",
    "http://www.w3.org/XML/1998/namespace": "xml:",
}


def document(elements: Mapping[str, object], canvas: Mapping[str, object] | None = None) -> bytes:
    """The state of a document with these entries in the map `elements`, dicts in it being Y maps."""
    doc: Doc[Map[object]] = Doc()
    with doc.transaction():
        root = doc.get("canvas", type=Map)
        for name, value in (canvas or {}).items():
            root[name] = value
        target = doc.get("elements", type=Map)
        for identifier, content in elements.items():
            target[identifier] = nested(content)
    return doc.get_update()


def nested(content: object) -> object:
    """A dict as a Y map, and so on inside."""
    if isinstance(content, dict):
        return Map({name: nested(value) for name, value in content.items()})
    return content


def raw_document(svg: bytes) -> bytes | None:
    """The document a careless or hostile client makes of a file: every element and attribute as it stands there.

    None when not even a forgiving parser sees a tree.
    """
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    # The types leave out that a recovering parser may find nothing.
    root: etree._Element | None = etree.fromstring(svg, parser)
    if root is None:
        return None
    elements: dict[str, object] = {}
    places = first_keys(10_000)

    def add(content: dict[str, object], parent: str) -> str:
        identifier = f"e{len(elements)}"
        elements[identifier] = {"parent": parent, "order": places[len(elements)], **content}
        return identifier

    stack = [(root, "")]
    while stack:
        node, parent = stack.pop()
        if not isinstance(node.tag, str):
            continue
        attrs = {_name(str(name)): str(value) for name, value in node.attrib.items()}
        own = add({"tag": node.tag.rpartition("}")[2], "attrs": attrs}, parent)
        if node.text:
            add({"tag": "#text", "text": node.text}, own)
        stack += [(child, own) for child in reversed(node)]
    canvas = {_name(str(name)): str(value) for name, value in root.attrib.items()}
    return document(elements, canvas)


def _name(name: str) -> str:
    namespace, _, local = name.rpartition("}")
    return _PREFIXES.get(namespace[1:], "") + local
