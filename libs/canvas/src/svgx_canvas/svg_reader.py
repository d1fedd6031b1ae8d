"""SVG text to a canvas, in one pass that stops at the first limit.

expat, and not libxml2 (lxml), because it reports tokens and builds nothing: limits are checked before anything is kept,
what the policy drops is never stored, and declarations in the document type reach us before their first use. It
performs no input or output, so a DTD or an external entity cannot be fetched whatever the file says.
"""

import re
from xml.parsers import expat

from svgx_canvas.document.order import first_keys
from svgx_canvas.limits import Limits, SvgRefused, require
from svgx_canvas.names import TEXT_ELEMENTS
from svgx_canvas.policy import (
    Report,
    StyleBudget,
    clean_attributes,
    clean_text,
    keeps_text,
    refusal,
)
from svgx_canvas.tree import TEXT, Canvas, Element

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
XML = "http://www.w3.org/XML/1998/namespace"

_PREFIXES = {XLINK: "xlink:", XML: "xml:"}
_ENCODING = re.compile(rb"""^<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,39})["']""")
_ENCODINGS = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-15", "windows-1252"}
    | {"utf-16", "utf-16le", "utf-16be"}
)
_DECLARATIONS = 1024
_W3C = re.compile(r"https?://www\.w3\.org/")


def read_svg(svg: bytes, limits: Limits, report: Report) -> Canvas:
    """The canvas in an SVG file, cleaned by the policy; ids are "1", "2", … in document order.

    Raises `SvgRefused`: "too_large" by the limits, "malformed" when it is no well-formed XML or no SVG, "forbidden" for
    external, nested or parameter entities.
    """
    require("bytes", limits.bytes, len(svg), "bytes of the file")
    reader = _Reader(_decode(svg), limits, report)
    return reader.read()


def _decode(svg: bytes) -> bytes:
    """The same text in UTF-8. Decoding here and not in expat leaves one encoding to think about: the declarations'
    bytes are searched before expat expands anything."""
    if svg.startswith((b"\xff\xfe", b"\xfe\xff")):
        name = "utf-16"
    elif svg.startswith(b"\xef\xbb\xbf"):
        name = "utf-8-sig"
    else:
        match = _ENCODING.match(svg[:1024].lstrip())
        name = match.group(1).decode("ascii").lower() if match else "utf-8"
        if name not in _ENCODINGS:
            raise SvgRefused(
                "malformed", "encoding", detail=f"the encoding {name} is not supported"
            )
    try:
        # XML 1.0, 2.11: leading white space is not allowed before a declaration, but files have it.
        return svg.decode(name).lstrip().encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise SvgRefused("malformed", "encoding", detail=f"the file is not {name}") from None


class _Open:
    """An element whose end has not been seen."""

    __slots__ = ("children", "element", "in_text", "tag")

    def __init__(
        self, tag: str, element: Element | None, children: list[Element], in_text: bool
    ) -> None:
        self.tag = tag
        self.element = element
        self.children = children
        self.in_text = in_text


class _Reader:
    def __init__(self, data: bytes, limits: Limits, report: Report) -> None:
        self._data = data
        self._limits = limits
        self._report = report
        self._styles = StyleBudget(limits)
        self._canvas: Canvas | None = None
        self._stack: list[_Open] = []
        self._skipped = 0  # depth inside an element that is left out
        self._count = 0
        self._next_id = 0
        self._text: list[str] = []
        self._text_length = 0
        self._declared = 0
        self._entities: dict[str, int] = {}

    def read(self) -> Canvas:
        parser = expat.ParserCreate("utf-8", " ")
        parser.ordered_attributes = True
        # Attributes that the document type would add are left out: they are no one's, and cost without being there.
        parser.specified_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.ProcessingInstructionHandler = self._instruction
        parser.EntityDeclHandler = self._entity
        parser.AttlistDeclHandler = self._declaration
        parser.ElementDeclHandler = self._declaration
        parser.NotationDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype_starts
        parser.EndDoctypeDeclHandler = self._doctype_ends
        try:
            parser.Parse(self._data, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise SvgRefused(
                "malformed",
                "svg",
                detail=f"not well-formed XML: {reason} (line {error.lineno}, column {error.offset})",
            ) from None
        if self._canvas is None:
            raise SvgRefused("malformed", "svg", detail="the file has no svg element")
        return self._canvas

    # The document type

    def _doctype_starts(
        self, _name: str, system: str | None, _public: str | None, _has_internal: bool
    ) -> None:
        """The W3C's own document types say nothing that is needed; any other would be a file's to fetch."""
        if system is not None and not _W3C.match(system):
            raise SvgRefused(
                "forbidden", "doctype", detail="the file has an external document type (DTD)"
            )

    def _entity(
        self,
        name: str,
        is_parameter: bool,
        value: str | None,
        _base: str | None,
        system: str | None,
        _public: str | None,
        notation: str | None,
    ) -> None:
        if is_parameter or value is None or system is not None or notation is not None:
            raise SvgRefused(
                "forbidden",
                "entities",
                detail=f"the entity {name[:64]} is external or a parameter entity",
            )
        if "&" in value or "<" in value:
            raise SvgRefused(
                "forbidden", "entities", detail=f"the entity {name[:64]} holds references or markup"
            )
        require(
            "entity_length",
            self._limits.entity_length,
            len(value),
            f"characters of entity {name[:64]}",
        )
        self._entities.setdefault(name, len(value))
        require("entities", self._limits.entities, len(self._entities), "entities declared")

    def _declaration(self, *_: object) -> None:
        self._declared += 1
        require("declarations", _DECLARATIONS, self._declared, "declarations in the document type")

    def _doctype_ends(self) -> None:
        # expat has expanded nothing yet. A reference has exactly one spelling, so all of them can be counted.
        total = sum(
            self._data.count(b"&%s;" % name.encode("utf-8")) * length
            for name, length in self._entities.items()
        )
        require(
            "entity_expansion",
            self._limits.entity_expansion,
            total,
            "characters of expanded entities",
        )

    # The content

    def _start(self, name: str, flat: list[str]) -> None:
        self._count += 1
        require("elements", self._limits.elements, self._count)
        require(
            "depth",
            self._limits.depth,
            len(self._stack) + self._skipped + 1,
            "elements inside one another",
        )
        require("attributes", self._limits.attributes, len(flat) // 2, "attributes of one element")
        if self._skipped:
            self._skipped += 1
            return
        self._flush()
        namespace, _, tag = name.rpartition(" ")
        if self._canvas is None:
            self._start_root(namespace, tag, flat)
            return
        # A root without a namespace is taken for SVG, and so is all in it: people write such files by hand.
        if namespace not in ("", SVG):
            self._skip(tag, "namespace")
            return
        parent = self._stack[-1]
        attrs = self._attributes(tag, flat)
        reason = refusal(tag, parent.tag, attrs)
        if reason:
            self._skip(tag, reason)
            return
        element = self._new(tag, clean_attributes(tag, attrs, self._limits, self._report))
        parent.children.append(element)
        in_text = parent.in_text or tag in TEXT_ELEMENTS
        self._stack.append(_Open(tag, element, element.children, in_text))

    def _start_root(self, namespace: str, tag: str, flat: list[str]) -> None:
        if tag != "svg" or namespace not in ("", SVG):
            raise SvgRefused("malformed", "svg", detail="the root is not an svg element")
        attrs = self._attributes(tag, flat)
        self._canvas = Canvas(clean_attributes(tag, attrs, self._limits, self._report))
        self._stack.append(_Open(tag, None, self._canvas.children, False))

    def _skip(self, tag: str, reason: str) -> None:
        self._report.add(tag, reason)
        self._skipped = 1

    def _attributes(self, tag: str, flat: list[str]) -> dict[str, str]:
        attrs: dict[str, str] = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            require(
                "attribute_length",
                self._limits.attribute_length,
                len(value),
                "characters of an attribute",
            )
            namespace, _, local = name.rpartition(" ")
            if namespace:
                prefix = _PREFIXES.get(namespace)
                if prefix is None:
                    self._report.add(f"{tag}@{local}", "namespace")
                    continue
                local = prefix + local
            attrs[local] = value
        return attrs

    def _end(self, _name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        self._flush()
        closed = self._stack.pop()
        if closed.tag == "style" and closed.element is not None:
            closed.children = self._styles.clean(closed.children, self._report, strict=True)
            closed.element.children = closed.children
        keys = first_keys(len(closed.children))
        parent = closed.element.id if closed.element is not None else ""
        for child, key in zip(closed.children, keys, strict=True):
            child.order = key
            child.parent = parent

    def _characters(self, text: str) -> None:
        if self._skipped or not self._stack:
            return
        top = self._stack[-1]
        if keeps_text(top.tag, in_text=top.in_text):
            self._text.append(text)
            self._text_length += len(text)
            require(
                "text_length", self._limits.text_length, self._text_length, "characters of a text"
            )
        elif text.strip():
            self._report.add(f"{top.tag}/{TEXT}", "place")

    def _flush(self) -> None:
        if not self._text:
            return
        text = clean_text("".join(self._text))
        self._text.clear()
        self._text_length = 0
        self._next_id += 1
        self._stack[-1].children.append(Element(str(self._next_id), TEXT, text=text))

    def _new(self, tag: str, attrs: dict[str, str]) -> Element:
        self._next_id += 1
        return Element(str(self._next_id), tag, attrs=attrs)

    def _instruction(self, target: str, _data: str) -> None:
        self._report.add(f"<?{target[:64]}?>", "processing instruction")
