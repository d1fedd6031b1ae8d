"""Audit SVG text for forbidden content. The audit is independent, because it shares no code with the policy.

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
_FETCHING_FUNCTIONS = {"src", "element", "-moz-element", "expression"}
_IMAGE_FUNCTIONS = {"image", "image-set", "-webkit-image-set", "cross-fade", "-webkit-cross-fade"}
_INDIRECT_FUNCTIONS = {"var", "env", "attr", "if", "inherit"}
_FETCHING_RULES = {"import", "document", "-moz-document", "color-profile"}
_RUNNING_PROPERTIES = {"behavior", "-moz-binding", "-ms-behavior"}
_PICTURE_PROPERTIES = {
    "background", "background-image", "border-image", "border-image-source", "content", "cursor", "list-style",
    "list-style-image", "shape-outside",
}  # fmt: skip
"""Properties in which `url(#a)` makes a browser fetch the document itself again."""
_FONT = re.compile(
    r"data:[^,]*; *base64 *,(?:d09G[Mg]|T1RUTw|AAEAAA|dHJ1ZQ|dHRjZg)|data:font/otf,OTTO"
)
_NOT_CSS = {"id", "class", "title", "lang", "begin", "end", "in", "in2", "result", "href"}
"""Attributes with values in which parentheses have no meaning."""


def problems(svg: bytes, nesting: int = 0) -> list[str]:
    """Return everything in the file that runs code or makes a browser or renderer fetch a resource.

    The SVG pictures in the file are audited like the file. `nesting` is the number of files that contain this one.
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
            found += [f"{tag}@{name}: {problem}" for problem in _attribute(tag, str(name), text)]
        if tag == "style":
            found += [f"style: {problem}" for problem in _sheet("".join(node.itertext()))]
    return found


def _attribute(tag: str, name: str, value: str) -> Iterator[str]:
    local = etree.QName(name).localname.lower()
    # Browsers strip control characters and spaces around a URL, and remove all tabs and line ends (WHATWG URL 4.4).
    url = re.sub(r"[\t\n\r]", "", value.strip("".join(map(chr, range(33)))))
    if local.startswith("on"):
        yield "event handler"
    # An `image` element with a fragment makes browsers fetch the document itself again.
    refers_inside = url.startswith("#") and tag != "image"
    if local in _FETCHING_ATTRIBUTES and not (refers_inside or _PICTURE.match(url)):
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
        yield from _tokens(_css(value))
    elif local not in _NOT_CSS and not local.startswith(("data-", "aria-")):
        # The value is no style sheet, so "@" begins no rule.
        found = _tokens(_css(value), local)
        yield from (problem for problem in found if not problem.startswith("@"))


def _sheet(text: str) -> Iterator[str]:
    yield from _tokens(_css(text))


def _css(text: str) -> list[ast.Node]:
    # tinycss2 fails at an integer with more digits than `int` converts.
    return [*tinycss2.parse_component_value_list(re.sub("[0-9]{999,}", "9", text))]


def _tokens(nodes: Iterable[ast.Node], prop: str = "", *, picture: bool = False) -> Iterator[str]:
    """Yield the problems of tokens, regardless of the rules and declarations that they form.

    `prop` is the property that has the tokens as its value. `picture` is true if the tokens are arguments of a
    function that takes the URL of a picture.
    """
    previous: ast.Node | None = None
    in_supports = False
    for node in nodes:
        if isinstance(node, ast.AtKeywordToken):
            in_supports = node.lower_value == "supports"
        if in_supports and isinstance(node, ast.ParenthesesBlock):
            # Browsers evaluate a condition of `@supports` and fetch nothing. Only URLs are problems, because simple
            # readers may fetch them.
            yield from (item for item in _tokens(node.content) if item.startswith("url"))
        else:
            literal = node.value if isinstance(node, ast.LiteralToken) else ""
            if literal == ":" and isinstance(previous, ast.IdentToken):
                prop = previous.lower_value
                yield from [prop] if prop in _RUNNING_PROPERTIES else []
            if literal == ";" or isinstance(node, ast.CurlyBracketsBlock):
                prop, in_supports = "", False
            yield from _token(node, prop, picture)
        if not isinstance(node, ast.WhitespaceToken | ast.Comment):
            previous = node


def _token(node: ast.Node, prop: str, picture: bool) -> Iterator[str]:
    if isinstance(node, ast.AtKeywordToken) and node.lower_value in _FETCHING_RULES and not prop:
        yield f"@{node.lower_value}"
    elif isinstance(node, ast.StringToken) and picture:
        yield f"picture {node.value[:40]!r}"
    elif isinstance(node, ast.URLToken):
        yield from _url(node.value, prop, picture)
    elif isinstance(node, ast.FunctionBlock):
        yield from _function(node, prop, picture)
    elif isinstance(node, ast.ParenthesesBlock | ast.SquareBracketsBlock | ast.CurlyBracketsBlock):
        yield from _tokens(node.content, prop, picture=picture)


def _function(node: ast.FunctionBlock, prop: str, picture: bool) -> Iterator[str]:
    name = node.lower_name
    arguments = [
        part for part in node.arguments if not isinstance(part, ast.WhitespaceToken | ast.Comment)
    ]
    if name == "url":
        if len(arguments) == 1 and isinstance(arguments[0], ast.StringToken):
            yield from _url(arguments[0].value, prop, picture)
        else:
            yield "function url"
        return
    if name in _FETCHING_FUNCTIONS or (
        picture and (name in _INDIRECT_FUNCTIONS or name.startswith("--"))
    ):
        yield f"function {name}"
    picture = name in _IMAGE_FUNCTIONS or (picture and name != "type")
    yield from _tokens(node.arguments, prop, picture=picture)


def _url(url: str, prop: str, picture: bool) -> Iterator[str]:
    if url.startswith("#"):
        if picture or prop in _PICTURE_PROPERTIES:
            yield f"the document itself as a picture in {prop}"
    elif not _PICTURE.match(url) and not _FONT.match(url):
        yield f"url {url[:40]!r}"
