"""Encode many new elements as a Yjs update without a document in memory.

Building 50,000 elements with pycrdt takes a second and 230 MB of memory. Encoding them directly takes about a fifth of
the time and a third of the memory. The format is Yjs update v1 with lib0's variable-length numbers and strings
(github.com/yjs/yjs, src/utils/UpdateEncoder.js and src/structs; github.com/dmonad/lib0, encoding.js).
"""

from collections.abc import Iterator

from svgx_canvas.tree import TEXT, Element
from svgx_yjs.lib0 import encode_text, encode_uint
from svgx_yjs.structure import EMPTY_UPDATE

_HAS_KEY = 0x20
_TYPE = bytes([7 | _HAS_KEY])
_ANY = bytes([8 | _HAS_KEY])
_Y_MAP = b"\x01"
_ROOT_PARENT = b"\x01"
_ITEM_PARENT = b"\x00"
_ONE_STRING = b"\x01\x77"
_NO_DELETIONS = b"\x00"


def encode_elements(elements: Iterator[Element], client: int, root: str = "elements") -> bytes:
    """Return an update that adds the elements to the map `root`. Its author is the Yjs client `client`.

    The client must be new to the document. The map must never have had an element with one of these ids, because Yjs
    would treat the old and the new element as concurrent, and might keep the old one.
    """
    structs: list[bytes] = []
    add = structs.append
    clock = 0
    client_bytes = encode_uint(client)
    root_parent = _TYPE + _ROOT_PARENT + encode_text(root)
    encoded_names: dict[str, bytes] = {}

    def encode_name(name: str) -> bytes:
        encoded = encoded_names.get(name)
        if encoded is None:
            encoded = encoded_names[name] = encode_text(name)
        return encoded

    tag_key, parent_key, order_key, text_key = map(encode_text, ("tag", "parent", "order", "text"))
    attrs_key = encode_text("attrs")
    for element in elements:
        add(root_parent + encode_text(element.id) + _Y_MAP)
        parent_bytes = _ITEM_PARENT + client_bytes + encode_uint(clock)
        field_prefix = _ANY + parent_bytes
        add(field_prefix + tag_key + _ONE_STRING + encode_name(element.tag))
        add(field_prefix + parent_key + _ONE_STRING + encode_text(element.parent))
        add(field_prefix + order_key + _ONE_STRING + encode_text(element.order))
        clock += 4
        if element.tag == TEXT:
            add(field_prefix + text_key + _ONE_STRING + encode_text(element.text))
            clock += 1
            continue
        add(_TYPE + parent_bytes + attrs_key + _Y_MAP)
        attribute_prefix = _ANY + _ITEM_PARENT + client_bytes + encode_uint(clock)
        clock += 1
        for name, content in element.attrs.items():
            add(attribute_prefix + encode_name(name) + _ONE_STRING + encode_text(content))
        clock += len(element.attrs)
    if not clock:
        return EMPTY_UPDATE
    head = encode_uint(1) + encode_uint(clock) + client_bytes + encode_uint(0)
    return b"".join((head, *structs, _NO_DELETIONS))
