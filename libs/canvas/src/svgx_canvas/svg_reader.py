"""Read SVG text as a canvas, in one pass that stops at the first exceeded limit.

The parser is expat instead of libxml2 (lxml), because expat reports tokens and builds no tree: limits are checked
before anything is stored, dropped elements are never stored, and entity declarations are known before their first use.
expat performs no I/O, so it never fetches a DTD or an external entity.
"""

import re
from xml.parsers import expat

from svgx_canvas.allow_list import TEXT_ELEMENTS
from svgx_canvas.document.order import first_keys
from svgx_canvas.images.pictures import Pictures
from svgx_canvas.limits import Limits, SvgRefused, check_limit
from svgx_canvas.policy import (
    Report,
    StyleCleaner,
    clean_attributes,
    clean_text,
    keeps_text,
    refusal_reason,
)
from svgx_canvas.text_encoding import decode
from svgx_canvas.tree import TEXT, Canvas, Element
from svgx_canvas.variables import remove_variable_pictures

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
XML = "http://www.w3.org/XML/1998/namespace"
XHTML = "http://www.w3.org/1999/xhtml"

_SEPARATOR = "\x1f"
"""The character between a namespace and a name in the parser's output. XML forbids it, so no namespace contains it."""

_PREFIXES = {XLINK: "xlink:", XML: "xml:"}
_MAX_DECLARATIONS = 1024
"""The most declarations in a document type, except those of entities. A file with more is refused."""

_MAX_AMPLIFICATION = 100
"""The factor by which entities may enlarge a file. It is expat's own limit, which expat checks from 8 MiB on. This
module checks `Limits.entity_expansion` earlier, before any entity is expanded."""

_REFERENCE = re.compile(rb"&([^&;#<>\s]+);")
_PREDEFINED = frozenset({b"amp", b"lt", b"gt", b"quot", b"apos"})
_XML_DECLARATION = re.compile(rb"<\?xml[ \t\r\n][^?]*+(?=\?>)")
_NOT_STANDALONE = re.compile(rb"""(?<=[ \t\r\n])standalone[ \t\r\n]*=[ \t\r\n]*(?:"no"|'no')""")
_STANDALONE = b'standalone="yes"'
_LINE_END = re.compile(rb"\r\n?|\n")
_W3C_URL = re.compile(r"https?://www\.w3\.org/")


def read_svg(
    svg: bytes,
    limits: Limits,
    report: Report,
    charset: str | None = None,
    *,
    max_bytes: int | None = None,
) -> Canvas:
    """Return the canvas in an SVG file, cleaned by the policy. Its ids are "1", "2", … in document order.

    `charset` is the encoding that the sender states for the file. `max_bytes` replaces `limits.bytes` for the file.

    Raises `SvgRefused`: "too_large" beyond a limit, "malformed" for a file that is not well-formed XML or not SVG,
    "forbidden" for an external document type, and for external, nested or parameter entities.
    """
    max_bytes = max_bytes or limits.bytes
    check_limit("bytes", max_bytes, len(svg), "bytes of the file")
    data = decode(svg, charset)
    check_limit("bytes", max_bytes, len(data), "bytes of the file in UTF-8")
    return _Reader(data, limits, report, picture_cleaner(limits, report, strict=True)).read()


def picture_cleaner(limits: Limits, report: Report, *, strict: bool) -> Pictures:
    """Return the cleaner for the pictures of one file or canvas (see `Pictures`)."""

    def read(svg: bytes, charset: str | None, pictures: Pictures) -> Canvas:
        return _Reader(decode(svg, charset), limits, report, pictures).read()

    return Pictures(limits, report.add, read, strict=strict)


class _OpenElement:
    """An element before its end tag."""

    __slots__ = ("children", "element", "in_text", "tag")

    def __init__(
        self, tag: str, element: Element | None, children: list[Element], in_text: bool
    ) -> None:
        self.tag = tag
        self.element = element
        self.children = children
        self.in_text = in_text


class _Reader:
    """The handlers of one parse. An exception in a handler ends the parse."""

    def __init__(self, data: bytes, limits: Limits, report: Report, pictures: Pictures) -> None:
        self._data = data
        self._limits = limits
        self._report = report
        self._pictures = pictures
        self._styles = StyleCleaner(limits, pictures.usage)
        self._canvas: Canvas | None = None
        self._root_namespace = ""
        self._stack: list[_OpenElement] = []
        self._skipped_depth = 0
        """Open elements that are skipped: a dropped element and its descendants."""
        self._last_id = 0
        self._text: list[str] = []
        self._text_length = 0
        self._declarations = 0
        self._entity_lengths: dict[bytes, int] = {}
        """Bytes of each entity's value."""

    def read(self) -> Canvas:
        """Parse the file, and return its cleaned canvas. Raises `SvgRefused`."""
        parser = expat.ParserCreate("utf-8", _SEPARATOR)
        parser.ordered_attributes = True
        # Ignore attributes that the document type adds by default, because the size of the file does not bound them.
        parser.specified_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.ProcessingInstructionHandler = self._instruction
        parser.EntityDeclHandler = self._entity
        parser.AttlistDeclHandler = self._attribute_default
        parser.ElementDeclHandler = self._declaration
        parser.NotationDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype_starts
        parser.EndDoctypeDeclHandler = self._doctype_ends
        head, rest = _standalone(self._data)
        try:
            parser.Parse(head + rest, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            if reason == expat.errors.XML_ERROR_AMPLIFICATION_LIMIT_BREACH:
                raise SvgRefused(
                    "too_large",
                    "entity_expansion",
                    _MAX_AMPLIFICATION,
                    detail=f"entities make the file more than {_MAX_AMPLIFICATION} times as large",
                ) from None
            if reason == expat.errors.XML_ERROR_UNDEFINED_ENTITY:
                reason += f" {self._undeclared_entity(head + rest, parser.ErrorByteIndex)}"
            column = error.offset
            if error.lineno == 1 + len(_LINE_END.findall(head)):
                column -= len(head) + len(rest) - len(self._data)
            raise SvgRefused(
                "malformed",
                "svg",
                detail=f"not well-formed XML: {reason} (line {error.lineno}, column {column})",
            ) from None
        if self._canvas is None:
            raise SvgRefused("malformed", "svg", detail="the file has no svg element")
        remove_variable_pictures(self._canvas, self._report.add)
        return self._canvas

    def _undeclared_entity(self, data: bytes, start: int) -> str:
        """Return the name of the first undeclared entity in a reference or start tag, which begins at `start`."""
        known = {*self._entity_lengths, *_PREDEFINED}
        names = (found[1] for found in _REFERENCE.finditer(data, start))
        undeclared = (name for name in names if name not in known)
        return next(undeclared, b"").decode()[:64]

    # Handlers of the document type

    def _doctype_starts(
        self, _name: str, system: str | None, _public: str | None, _has_internal: bool
    ) -> None:
        """Refuse an external document type. Those of the W3C are ignored instead, because reading SVG needs none."""
        if system is not None and not _W3C_URL.match(system):
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
                detail=f"the entity {name[:64]} is an external or a parameter entity",
            )
        if "&" in value or "<" in value:
            raise SvgRefused(
                "forbidden",
                "entities",
                detail=f"the entity {name[:64]} contains references or markup",
            )
        # The parser uses the first declaration of a name.
        self._entity_lengths.setdefault(name.encode("utf-8"), len(value.encode("utf-8")))

    def _declaration(self, *_: object) -> None:
        self._declarations += 1
        check_limit(
            "declarations",
            _MAX_DECLARATIONS,
            self._declarations,
            "declarations in the document type",
        )

    def _attribute_default(
        self, tag: str, name: str, _type: str, default: str | None, _required: bool
    ) -> None:
        """Report the default of an attribute, because the attribute is not added. Namespaces get their defaults."""
        self._declaration()
        if default is not None and name != "xmlns" and not name.startswith("xmlns:"):
            self._report.add(f"{tag}@{name}", "doctype default")

    def _doctype_ends(self) -> None:
        # expat has expanded no entity yet. An entity reference has exactly one spelling, so a search finds all of them.
        if not self._entity_lengths:
            return
        size = len(self._data)
        for match in _REFERENCE.finditer(self._data):
            size += self._entity_lengths.get(match.group(1), 0)
            check_limit(
                "entity_expansion",
                self._limits.entity_expansion,
                size,
                "bytes of the file with expanded entities",
            )
        self._pictures.use_bytes(size - len(self._data))

    # Handlers of the content

    def _start(self, name: str, flat: list[str]) -> None:
        usage = self._pictures.usage
        usage.elements += 1
        check_limit("elements", self._limits.elements, usage.elements)
        depth = len(self._stack) + self._skipped_depth + 1
        check_limit("depth", self._limits.depth, depth, "levels of elements")
        attributes = len(flat) // 2
        check_limit("attributes", self._limits.attributes, attributes, "attributes of one element")
        if self._skipped_depth:
            self._skipped_depth += 1
            return
        self._flush()
        namespace, _, tag = name.rpartition(_SEPARATOR)
        if self._canvas is None:
            self._start_root(namespace, tag, flat)
            return
        if not self._counts_as_svg(namespace, tag):
            self._skip(tag, "namespace")
            return
        parent = self._stack[-1]
        attrs = self._attributes(tag, flat)
        reason = refusal_reason(tag, parent.tag, attrs)
        if reason:
            self._skip(tag, reason)
            return
        element = self._new_element(
            tag, clean_attributes(tag, attrs, self._limits, self._report, self._pictures)
        )
        parent.children.append(element)
        in_text = parent.in_text or tag in TEXT_ELEMENTS
        self._stack.append(_OpenElement(tag, element, element.children, in_text))

    def _start_root(self, namespace: str, tag: str, flat: list[str]) -> None:
        # A file without a namespace counts as SVG. An SVG picture without one does not, because no program draws it.
        namespaces = (SVG,) if self._pictures.inside_picture else ("", SVG)
        if tag != "svg" or namespace not in namespaces:
            raise SvgRefused("malformed", "svg", detail="the root is not an svg element")
        self._root_namespace = namespace
        attrs = self._attributes(tag, flat)
        self._canvas = Canvas(
            clean_attributes(tag, attrs, self._limits, self._report, self._pictures)
        )
        self._stack.append(_OpenElement(tag, None, self._canvas.children, False))

    def _counts_as_svg(self, namespace: str, tag: str) -> bool:
        """Return whether an element is SVG. Other elements draw nothing, and neither do the elements in them.

        If the root has no namespace, an element without one counts as SVG, because handwritten files often omit the
        namespace. A `style` element of XHTML counts too, because browsers apply it to SVG.
        """
        if namespace == SVG or (namespace == XHTML and tag == "style"):
            return True
        return namespace == "" and self._root_namespace == ""

    def _skip(self, tag: str, reason: str) -> None:
        self._report.add(tag, reason)
        self._skipped_depth = 1

    def _attributes(self, tag: str, flat: list[str]) -> dict[str, str]:
        attrs: dict[str, str] = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            check_limit(
                "attribute_length",
                self._limits.attribute_length,
                len(value),
                "characters of an attribute",
            )
            namespace, _, local = name.rpartition(_SEPARATOR)
            if namespace:
                prefix = _PREFIXES.get(namespace)
                if prefix is None:
                    self._report.add(f"{tag}@{local}", "namespace")
                    continue
                local = prefix + local
            attrs[local] = value
        return attrs

    def _end(self, _name: str) -> None:
        if self._skipped_depth:
            self._skipped_depth -= 1
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
        if self._skipped_depth or not self._stack:
            return
        top = self._stack[-1]
        if keeps_text(top.tag, in_text=top.in_text):
            self._text.append(text)
            self._text_length += len(text)
            check_limit(
                "text_length", self._limits.text_length, self._text_length, "characters of a text"
            )
        elif text.strip():
            self._report.add(f"{top.tag}/{TEXT}", "place")

    def _flush(self) -> None:
        """Add the character data since the last tag to the open element, as one text."""
        if not self._text:
            return
        text = clean_text("".join(self._text))
        self._text.clear()
        self._text_length = 0
        self._last_id += 1
        self._stack[-1].children.append(Element(str(self._last_id), TEXT, text=text))

    def _new_element(self, tag: str, attrs: dict[str, str]) -> Element:
        self._last_id += 1
        return Element(str(self._last_id), tag, attrs=attrs)

    def _instruction(self, target: str, _data: str) -> None:
        self._report.add(f"<?{target[:64]}?>", "processing instruction")


def _standalone(data: bytes) -> tuple[bytes, bytes]:
    """Return the XML declaration of a file, changed so that the file is standalone, and the rest of the file.

    With an external document type, which may declare entities, expat leaves out a reference to an undeclared entity. In
    a standalone file, such a reference is an error (XML 1.0, 4.1).
    """
    declaration = _XML_DECLARATION.match(data)
    if declaration is None:
        return b'<?xml version="1.0" ' + _STANDALONE + b"?>", data
    head, rest = declaration[0], data[declaration.end() :]
    if b"standalone" in head:
        return _NOT_STANDALONE.sub(_STANDALONE, head), rest
    return head + b" " + _STANDALONE, rest
