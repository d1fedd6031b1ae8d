"""Audit SVG text for forbidden content. The audit is independent: it shares no code with the policy.

The text is parsed as a browser or renderer parses it: XML with libxml2, CSS with tinycss2. There is no text search.
"""

import base64
import re
from collections.abc import Iterable, Iterator

import tinycss2
from lxml import etree
from tinycss2 import ast

SVG = "{http://www.w3.org/2000/svg}"
_RUNS_OR_EMBEDS = {
    "script", "handler", "listener", "foreignobject", "iframe", "object", "embed", "audio", "video", "canvas",
    "link", "meta", "base", "form", "input", "img", "image-set", "math", "html", "body",
}  # fmt: skip
_FETCHING_ATTRIBUTES = {
    "href", "src", "srcset", "action", "formaction", "data", "base", "ping", "poster", "background", "cite",
    "longdesc", "manifest", "codebase", "archive", "classid", "profile", "from-origin",
}  # fmt: skip
_PICTURE = re.compile(r"data:image/(png|jpe?g|gif|webp)\s*;\s*base64\s*,", re.IGNORECASE)
_SVG_PICTURE = "data:image/svg+xml;base64,"
_MAX_NESTING = 3
_ACTIVE_SCHEMES = ("javascript:", "vbscript:", "data:text", "data:application", "data:image/svg")
_FETCHING_FUNCTIONS = {
    "url",
    "src",
    "image",
    "image-set",
    "-webkit-image-set",
    "cross-fade",
    "element",
    "expression",
}


def problems(svg: bytes, nesting: int = 0) -> list[str]:
    """Return everything in the file that runs code or makes a browser or renderer fetch a resource.

    The SVG pictures in the file are audited like the file. `nesting` is the number of files around this one.
    """
    if nesting > _MAX_NESTING:
        return ["SVG pictures that are nested too deep"]
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    root = etree.fromstring(svg, parser)
    found = []
    if root.getroottree().docinfo.internalDTD is not None:
        found.append("a document type")
    if root.getprevious() is not None:
        found.append("something before the root")
    for node in root.iter():
        if not isinstance(node.tag, str):
            found.append(f"a {type(node).__name__}")
            continue
        if not node.tag.startswith(SVG):
            found.append(f"foreign element {node.tag}")
        tag = etree.QName(node).localname
        if tag.lower() in _RUNS_OR_EMBEDS:
            found.append(f"element {tag}")
        for name, value in node.attrib.items():
            text = str(value)
            if etree.QName(str(name)).localname == "href" and text.startswith(_SVG_PICTURE):
                if tag not in ("image", "feImage"):
                    found.append(f"{tag}@{name}: an SVG picture")
                picture = base64.b64decode(text.removeprefix(_SVG_PICTURE), validate=True)
                found += [f"{tag}@{name}: {each}" for each in problems(picture, nesting + 1)]
                continue
            found += [f"{tag}@{name}: {problem}" for problem in _attribute(str(name), text)]
        if tag == "style":
            found += [f"style: {problem}" for problem in _sheet("".join(node.itertext()))]
    return found


def _attribute(name: str, value: str) -> Iterator[str]:
    local = etree.QName(name).localname.lower()
    # Browsers strip leading control characters and spaces of a URL, and remove all tabs and line ends (WHATWG URL 4.4).
    url = re.sub(r"[\t\n\r]", "", value.strip("".join(map(chr, range(33)))))
    if local.startswith("on"):
        yield "event handler"
    if local in _FETCHING_ATTRIBUTES and not (url.startswith("#") or _PICTURE.match(url)):
        yield f"refers to {url[:40]!r}"
    if local == "attributename" and value.strip().rpartition(":")[2].lower() in (
        "href",
        "src",
        "style",
    ):
        yield "animates a reference"
    if local == "attributename" and value.strip().lower().startswith("on"):
        yield "animates a handler"
    if local in ("to", "from", "by", "values") or local in _FETCHING_ATTRIBUTES:
        for part in re.sub(r"[\x00-\x20]", "", value).lower().split(";"):
            if part.startswith(_ACTIVE_SCHEMES):
                yield f"scheme {part[:20]}"
    if local == "style":
        yield from _declarations(tinycss2.parse_declaration_list(value))
    elif local not in ("id", "class", "title", "lang") and not local.startswith(("data-", "aria-")):
        yield from _tokens(tinycss2.parse_component_value_list(value))


def _sheet(text: str) -> Iterator[str]:
    pending = list(tinycss2.parse_stylesheet(text))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.AtRule):
            if node.lower_at_keyword not in ("media", "supports", "keyframes", "-webkit-keyframes"):
                yield f"@{node.lower_at_keyword}"
            yield from _tokens(node.prelude)
            pending += tinycss2.parse_rule_list(node.content or [])
        elif isinstance(node, ast.QualifiedRule):
            yield from _tokens(node.prelude, selector=True)
            yield from _declarations(tinycss2.parse_declaration_list(node.content))


def _declarations(nodes: Iterable[ast.Node]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Declaration):
            if node.lower_name in ("behavior", "-moz-binding", "-ms-behavior"):
                yield node.lower_name
            yield from _tokens(node.value)
        elif isinstance(node, ast.AtRule):
            yield f"@{node.lower_at_keyword}"


def _tokens(nodes: Iterable[ast.Node], *, selector: bool = False) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.URLToken) and not node.value.startswith("#"):
            yield f"url {node.value[:40]!r}"
        elif isinstance(node, ast.FunctionBlock):
            arguments = [
                part for part in node.arguments if not isinstance(part, ast.WhitespaceToken)
            ]
            is_fragment = (
                node.lower_name == "url"
                and len(arguments) == 1
                and isinstance(arguments[0], ast.StringToken)
                and arguments[0].value.startswith("#")
            )
            if node.lower_name in _FETCHING_FUNCTIONS and not is_fragment and not selector:
                yield f"function {node.lower_name}"
            yield from _tokens(node.arguments)
        elif isinstance(
            node, ast.ParenthesesBlock | ast.SquareBracketsBlock | ast.CurlyBracketsBlock
        ):
            yield from _tokens(node.content)
