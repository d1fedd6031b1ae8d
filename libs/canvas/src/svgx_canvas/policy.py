"""The SVG policy: what comes in and goes out has passed here, attribute by attribute.

An allow-list. References go to a fragment of the same document, or for pictures to a PNG, JPEG, GIF or WebP inside a
data: URL; nothing else is fetched, and nothing runs.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from svgx_canvas import css, names
from svgx_canvas.limits import Limits, require
from svgx_canvas.raster import parse_data_url
from svgx_canvas.tree import TEXT, Canvas, Element

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may have."""

_ANIMATED_VALUES = frozenset({"by", "from", "to", "values"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
_FREE_NAME = re.compile(r"(?:aria|data)-[a-z0-9_.-]{1,64}", re.ASCII)
_DISTINCT = 200


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something the policy left out. what: `element`, `element@attribute`, a property or a rule. reason: which part of
    the policy. count: how often."""

    what: str
    reason: str
    count: int


class Report:
    """Collects what is dropped; of a file that is all different, the first kinds one by one and the rest together."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, what: str, reason: str) -> None:
        """Count one thing dropped."""
        key = (what[:128], reason)
        if key not in self._counts and len(self._counts) >= _DISTINCT:
            key = ("others", reason)
        self._counts[key] += 1

    def dropped(self) -> list[Dropped]:
        """Everything counted, the most frequent first."""
        return [
            Dropped(what, reason, count) for (what, reason), count in self._counts.most_common()
        ]


def keeps_text(tag: str, *, in_text: bool) -> bool:
    """Whether character data directly in this element means something."""
    return (
        tag in names.TEXT_ELEMENTS
        or tag in names.DESCRIPTIVE_ELEMENTS
        or tag == "style"
        or (tag == "a" and in_text)
    )


def refusal(tag: str, parent: str, attrs: Mapping[str, str]) -> str:
    """Why an element may not be in `parent`; "" when it may."""
    if tag not in names.ELEMENTS:
        return "element"
    if parent == "style" or parent in names.DESCRIPTIVE_ELEMENTS:
        return "place"
    if tag in names.ANIMATION_ELEMENTS and tag != "animateMotion":
        target = attrs.get("attributeName", "")
        if target.strip() not in names.ANIMATABLE:
            return "animation"
    return ""


def clean_attributes(
    tag: str, attrs: Mapping[str, str], limits: Limits, report: Report
) -> dict[str, str]:
    """The attributes that may stay, with the values that may stay."""
    kept: dict[str, str] = {}
    for name, raw in attrs.items():
        if name not in names.ATTRIBUTES and not _FREE_NAME.fullmatch(name):
            handler = name[:2].lower() == "on"
            report.add(f"{tag}@{name}", "event handler" if handler else "attribute")
        elif len(raw) > limits.attribute_length or len(kept) >= limits.attributes:
            report.add(f"{tag}@{name}", "length")
        else:
            value = _NOT_XML.sub("", raw) if _NOT_XML.search(raw) else raw
            cleaned = _clean_value(tag, name, value, limits, report)
            if cleaned is not None:
                kept[name] = cleaned
    return kept


def _clean_value(tag: str, name: str, value: str, limits: Limits, report: Report) -> str | None:
    if name in names.LITERAL_ATTRIBUTES or ("-" in name and _FREE_NAME.fullmatch(name)):
        return value
    if name == "style" and len(value) <= limits.style_length:
        return css.clean_declarations(value, report.add)
    reason = ""
    if name in names.REFERENCES:
        reference = _clean_reference(tag, value)
        if reference is not None:
            return reference
        reason = "reference"
    elif name == "style":
        reason = "length"
    elif name == "attributeName":
        # On elements that do not animate, too: nobody has to know which those are.
        reason = "" if value.strip() in names.ANIMATABLE else "animation"
    elif not _refers_to_nothing(name, value):
        reason = "reference"
    if reason:
        report.add(f"{tag}@{name}", reason)
        return None
    return value


def _refers_to_nothing(name: str, value: str) -> bool:
    if name in _ANIMATED_VALUES and _names_a_scheme(value):
        return False
    if name in names.TRANSFORM_ATTRIBUTES:
        return css.transform_is_safe(value)
    return css.value_is_safe(value)


def _clean_reference(tag: str, value: str) -> str | None:
    if value.lstrip(" \t\r\n").startswith("#"):
        # A fragment can be any text; one that would be a reference as CSS is no one's id.
        return value if css.value_is_safe(value) else None
    if tag in names.PICTURE_ELEMENTS and (found := parse_data_url(value)):
        return found[1]
    return None


def _names_a_scheme(value: str) -> bool:
    """Whether one of the values of an animation could be read as an absolute URL, as a browser reads one."""
    compact = re.sub(r"[\x00-\x20]+", "", value)
    return any(_SCHEME.match(part) for part in compact.split(";"))


def clean_text(text: str) -> str:
    """Character data without what XML cannot hold."""
    return _NOT_XML.sub("", text) if _NOT_XML.search(text) else text


def clean_style(text: str, limits: Limits, report: Report) -> str:
    """A style sheet as it is when all of it may stay, else what may."""
    inner = Report()
    cleaned = css.clean_stylesheet(text, limits, inner.add)
    dropped = inner.dropped()
    for item in dropped:
        report.add(item.what, item.reason)
    return cleaned if dropped or "<" in text else text


def clean(canvas: Canvas, limits: Limits, report: Report) -> Canvas:
    """The part of a canvas that may be shown, as a new tree; elements keep their ids.

    Branches deeper than the limit are cut off, values and style sheets longer than theirs left out. Raises `SvgRefused`
    when there are more elements than the limit.
    """
    result = Canvas(clean_attributes("svg", canvas.attrs, limits, report))
    styles = StyleBudget(limits)
    elements, texts = 1, 0
    stack = [_Branch(canvas.children, result.children, "svg", False, 2)]
    while stack:
        branch = stack.pop()
        for element in branch.source:
            if element.tag == TEXT:
                texts += 1
                if keeps_text(branch.parent, in_text=branch.in_text):
                    text = clean_text(element.text)[: limits.text_length]
                    branch.target.append(replace(element, text=text, attrs={}, children=[]))
                continue
            elements += 1
            reason = refusal(element.tag, branch.parent, element.attrs)
            if reason or branch.depth > limits.depth:
                report.add(element.tag, reason or "depth")
                continue
            attrs = clean_attributes(element.tag, element.attrs, limits, report)
            copy = replace(element, attrs=attrs, text="", children=[])
            branch.target.append(copy)
            if element.tag == "style":
                copy.children = styles.clean(element.children, report, strict=False)
            elif element.children:
                in_text = branch.in_text or element.tag in names.TEXT_ELEMENTS
                stack.append(
                    _Branch(element.children, copy.children, element.tag, in_text, branch.depth + 1)
                )
        require("elements", limits.elements, elements)
        # A file that keeps the limit has one text before and one after each element at most.
        require("elements", 2 * limits.elements, texts, "texts")
    return result


@dataclass(slots=True)
class _Branch:
    """Elements that are still to be cleaned, where the cleaned ones go, and what they are in."""

    source: list[Element]
    target: list[Element]
    parent: str
    in_text: bool
    depth: int


class StyleBudget:
    """Cleans the style sheets of one canvas, which share one limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._length = 0

    def clean(self, children: list[Element], report: Report, *, strict: bool) -> list[Element]:
        """The character data of a `style` element, all in the first of them.

        What is over the limit is left out, or with `strict` raises `SvgRefused`.
        """
        texts = [child for child in children if child.tag == TEXT]
        length = sum(len(text.text) for text in texts)
        if strict:
            what = "characters of style sheets"
            require("style_length", self._limits.style_length, self._length + length, what)
        elif self._length + length > self._limits.style_length:
            report.add("style", "length")
            return []
        self._length += length
        if not texts:
            return []
        text = clean_text("".join(text.text for text in texts))
        cleaned = clean_style(text, self._limits, report)
        return [replace(texts[0], text=cleaned, attrs={}, children=[])] if cleaned else []
