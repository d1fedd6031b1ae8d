"""Write a canvas as SVG text. The writer applies no policy: the caller removes forbidden content first."""

import re

from svgx_canvas.tree import TEXT, Canvas, Element

NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""The regular expression of the characters that XML 1.0 forbids."""

_SPECIAL_IN_VALUE = re.compile('[&<>"\t\n\r]')
_SPECIAL_IN_TEXT = re.compile("[&<>\r]")
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}
_SVG_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
_XLINK_NAMESPACE = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


def write_svg(canvas: Canvas) -> bytes:
    """Return the canvas as an SVG file in UTF-8. Elements and attributes keep their order; no white space is added."""
    parts: list[str] = []
    # Elements that are not written yet, and the end tags of the elements that are open.
    stack: list[Element | str] = list(reversed(canvas.children))
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
        elif item.tag == TEXT:
            parts.append(_escape(_SPECIAL_IN_TEXT, item.text))
        elif item.children:
            parts.append(f"<{item.tag}{_attributes(item.attrs)}>")
            stack.append(f"</{item.tag}>")
            stack.extend(reversed(item.children))
        else:
            parts.append(f"<{item.tag}{_attributes(item.attrs)}/>")
    body = "".join(parts)
    attrs = _attributes(canvas.attrs)
    namespaces = (
        f"{_SVG_NAMESPACE} {_XLINK_NAMESPACE}"
        if " xlink:" in attrs or " xlink:" in body
        else _SVG_NAMESPACE
    )
    return f"<svg {namespaces}{attrs}>{body}</svg>".encode()


def _attributes(attrs: dict[str, str]) -> str:
    return "".join(
        [f' {name}="{_escape(_SPECIAL_IN_VALUE, value)}"' for name, value in attrs.items()]
    )


def _escape(special: re.Pattern[str], text: str) -> str:
    if not special.search(text):
        return text
    return special.sub(lambda match: _ESCAPES[match.group()], text)
