"""The SVG policy: the filter for all imported and exported elements and attributes.

The policy is an allow-list. A reference may go to a fragment of the same document, and an image element may only refer
to a PNG, JPEG, GIF, WebP or SVG in a data: URL. An SVG in a data: URL is filtered by this policy too. A style may refer
to a bitmap or a font in a data: URL. Nothing is fetched, and no code runs.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from svgx_canvas import allow_list, css
from svgx_canvas.images.pictures import Pictures
from svgx_canvas.limits import Limits, Usage, check_limit
from svgx_canvas.svg_writer import NOT_XML
from svgx_canvas.tree import TEXT, Canvas, Element
from svgx_canvas.variables import remove_variable_pictures

_NOT_XML = re.compile(NOT_XML)

_ANIMATED_VALUES = frozenset({"by", "from", "to", "values"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
_ACTIVE_SCHEME = re.compile(r"(?:javascript|vbscript|data):", re.IGNORECASE | re.ASCII)
_ARIA_OR_DATA = re.compile(r"(?:aria|data)-[a-z0-9_.-]{1,64}", re.ASCII)
_MAX_KINDS = 200
"""The most kinds of left-out content that a report lists one by one. Further kinds are counted together."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A kind of content that was left out or cut."""

    what: str
    """The name of the kind, such as `rect`, `image@href`, `text/#text`, `update` or `others`.

    A part of a style has the name of its CSS property or rule.
    """
    reason: str
    """The part of the policy that forbids the content, the exceeded limit (often one of `Limits`) or a data fault."""
    count: int
    """The number of occurrences."""


class Report:
    """The counts of the content that the policy, a limit or a fault of the data keeps out of one file or document."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, what: str, reason: str) -> None:
        """Count one occurrence of a kind."""
        key = (what[:128], reason)
        if key not in self._counts and len(self._counts) >= _MAX_KINDS:
            key = ("others", reason)
        self._counts[key] += 1

    def add_all(self, items: Iterable[Dropped]) -> None:
        """Add the counts of another report."""
        for item in items:
            self._counts[item.what, item.reason] += item.count

    def dropped(self) -> list[Dropped]:
        """Return the kinds with their counts, the most frequent first."""
        return [
            Dropped(what, reason, count) for (what, reason), count in self._counts.most_common()
        ]


def keeps_text(tag: str, *, in_text: bool) -> bool:
    """Return whether character data directly in this element is kept, because SVG gives it a meaning.

    `in_text`: the element is inside a text element.
    """
    return (
        tag in allow_list.TEXT_ELEMENTS
        or tag in allow_list.DESCRIPTIVE_ELEMENTS
        or tag == "style"
        or (tag == "a" and in_text)
    )


def refusal_reason(tag: str, parent: str, attrs: Mapping[str, str]) -> str:
    """Return the reason why an element may not be in `parent`, or "" if it may."""
    if tag not in allow_list.ELEMENTS:
        return "element"
    if parent == "style" or parent in allow_list.DESCRIPTIVE_ELEMENTS:
        return "place"
    if tag in allow_list.ANIMATION_ELEMENTS and tag != "animateMotion":
        target = attrs.get("attributeName", "")
        if target.strip() not in allow_list.ANIMATABLE:
            return "animation"
    return ""


def clean_attributes(
    tag: str, attrs: Mapping[str, str], limits: Limits, report: Report, pictures: Pictures
) -> dict[str, str]:
    """Return the allowed attributes with their cleaned values."""
    kept: dict[str, str] = {}
    items = attrs.items()
    if len(items) > limits.attributes:
        # Put SVG's own attributes first, because the attributes beyond the limit are dropped.
        items = dict(sorted(items, key=lambda item: item[0] not in allow_list.ATTRIBUTES)).items()
    for name, raw in items:
        if name not in allow_list.ATTRIBUTES and not _ARIA_OR_DATA.fullmatch(name):
            handler = name[:2].lower() == "on"
            report.add(f"{tag}@{name}", "event handler" if handler else "attribute")
        elif len(raw) > limits.attribute_length:
            report.add(f"{tag}@{name}", "attribute_length")
        elif len(kept) >= limits.attributes:
            report.add(f"{tag}@{name}", "attributes")
        elif name in _ANIMATED_VALUES:
            if _animated_value_is_safe(attrs.get("attributeName", "").strip(), raw):
                kept[name] = clean_text(raw)
            else:
                report.add(f"{tag}@{name}", "reference")
        else:
            value = _NOT_XML.sub("", raw) if _NOT_XML.search(raw) else raw
            cleaned = _clean_value(tag, name, value, limits, report, pictures=pictures)
            if cleaned is not None:
                kept[name] = cleaned
    return kept


def _clean_value(
    tag: str, name: str, value: str, limits: Limits, report: Report, *, pictures: Pictures
) -> str | None:
    """Return the cleaned value of an allowed attribute, or None if the attribute must be dropped."""
    if name in allow_list.LITERAL_ATTRIBUTES or ("-" in name and _ARIA_OR_DATA.fullmatch(name)):
        return value
    if name == "style" and len(value) <= limits.style_length:
        return css.clean_declarations(value, report.add)
    reason = ""
    if name in allow_list.REFERENCES:
        # Browsers resolve a fragment in an `image` element to the document itself, and fetch it
        # again as a picture.
        if tag != "image" and _is_fragment(value):
            return value
        if tag in allow_list.IMAGE_ELEMENTS:
            return pictures.clean(f"{tag}@{name}", value)
        reason = "reference"
    elif name == "style":
        reason = "style_length"
    elif name == "attributeName":
        # The name is checked on all elements, so that the rule does not depend on a list of animating elements.
        reason = "" if value.strip() in allow_list.ANIMATABLE else "animation"
    elif not _refers_to_nothing_outside(name, value):
        reason = "reference"
    if reason:
        report.add(f"{tag}@{name}", reason)
        return None
    return value


def _refers_to_nothing_outside(name: str, value: str) -> bool:
    if name in allow_list.TRANSFORM_ATTRIBUTES:
        return css.transform_is_safe(value)
    # Only presentation attributes are CSS. `begin="a.repeat(3)"` and `result="url(a)"` are no functions of CSS.
    return name not in allow_list.PRESENTATION_ATTRIBUTES or css.value_is_safe(name, value)


def _animated_value_is_safe(target: str, value: str) -> bool:
    """Return whether an animation of the attribute or property `target` may use a value.

    If `target` is an attribute that is not CSS, only `javascript:`, `vbscript:` and `data:` URLs are unsafe. Otherwise,
    also for an unknown target, the value is checked as CSS and may have no URL with a scheme.
    """
    value = clean_text(value)
    if target in allow_list.ANIMATABLE - allow_list.PRESENTATION_ATTRIBUTES:
        return not _has_url(value, _ACTIVE_SCHEME)
    if _has_url(value, _SCHEME) or css.picture_is_variable(target, value):
        return False
    return css.value_is_safe(target, value)


def _is_fragment(value: str) -> bool:
    """Return whether a reference is a fragment: `#`, followed by any text."""
    return value.lstrip(" \t\r\n").startswith("#")


def _has_url(value: str, scheme: re.Pattern[str]) -> bool:
    """Return whether a browser could read one of an animation's values as a URL with a scheme that `scheme` matches."""
    compact = re.sub(r"[\x00-\x20]+", "", value)
    return any(scheme.match(part) for part in compact.split(";"))


def clean_text(text: str) -> str:
    """Return character data without the characters that XML forbids."""
    return _NOT_XML.sub("", text) if _NOT_XML.search(text) else text


def _clean_style(text: str, limits: Limits, report: Report) -> str:
    """Return the allowed rules of a style sheet (see `css.clean_stylesheet`)."""
    return css.clean_stylesheet(text, limits, report.add)


def clean(canvas: Canvas, limits: Limits, report: Report, pictures: Pictures) -> Canvas:
    """Return the allowed part of a canvas as a new tree. Elements keep their ids.

    Elements deeper than the limit are dropped, and so are pictures, values and style sheets beyond their limits. Texts
    beyond their limit are cut. Raises `SvgRefused` if there are more elements than the limit, or more texts than
    twice this limit.
    """
    result = Canvas(clean_attributes("svg", canvas.attrs, limits, report, pictures))
    styles = StyleCleaner(limits, pictures.usage)
    elements, texts = 1, 0
    stack = [_Branch(canvas.children, result.children, "svg", False, 2)]
    while stack:
        branch = stack.pop()
        for element in branch.source:
            if element.tag == TEXT:
                texts += 1
                _add_text(branch, element, limits, report)
                continue
            elements += 1
            reason = refusal_reason(element.tag, branch.parent, element.attrs)
            if reason:
                report.add(element.tag, reason)
                continue
            if branch.depth > limits.depth:
                for lost in Canvas(children=[element]).walk():
                    report.add(lost.tag, "depth")
                continue
            attrs = clean_attributes(element.tag, element.attrs, limits, report, pictures)
            copy = replace(element, attrs=attrs, text="", children=[])
            branch.target.append(copy)
            if element.tag == "style":
                refused = [child for child in element.children if child.tag != TEXT]
                elements += len(refused)
                for child in refused:
                    report.add(child.tag, refusal_reason(child.tag, "style", child.attrs))
                copy.children = styles.clean(element.children, report, strict=False)
            elif element.children:
                in_text = branch.in_text or element.tag in allow_list.TEXT_ELEMENTS
                stack.append(
                    _Branch(element.children, copy.children, element.tag, in_text, branch.depth + 1)
                )
        check_limit("elements", limits.elements, elements + pictures.usage.elements)
        # A file has at most one text after each start tag and each end tag, so at most two for each element.
        check_limit("elements", 2 * limits.elements, texts, "texts")
    remove_variable_pictures(result, report.add)
    return result


@dataclass(slots=True)
class _Branch:
    """Sibling elements that have to be cleaned."""

    source: list[Element]
    target: list[Element]
    """The list for the cleaned elements."""
    parent: str
    """The tag of the parent."""
    in_text: bool
    depth: int


def _add_text(branch: _Branch, element: Element, limits: Limits, report: Report) -> None:
    """Add cleaned character data to its parent, cut to the limit, if the parent may have character data."""
    if keeps_text(branch.parent, in_text=branch.in_text):
        text = clean_text(element.text)[: limits.text_length]
        if len(element.text) > limits.text_length:
            report.add(f"{branch.parent}/{TEXT}", "text_length")
        branch.target.append(replace(element, text=text, attrs={}, children=[]))
    elif element.text.strip():
        report.add(f"{branch.parent}/{TEXT}", "place")


class StyleCleaner:
    """The cleaner of a canvas's style sheets. They share one length limit with the style sheets of its SVG pictures."""

    def __init__(self, limits: Limits, usage: Usage) -> None:
        self._limits = limits
        self._usage = usage

    def clean(self, children: list[Element], report: Report, *, strict: bool) -> list[Element]:
        """Return the cleaned character data of a `style` element, joined into one child.

        A style sheet beyond the limit is dropped; with `strict` it raises `SvgRefused` instead.
        """
        texts = [child for child in children if child.tag == TEXT]
        length = sum(len(text.text) for text in texts)
        if strict:
            total = self._usage.style_length + length
            check_limit(
                "style_length", self._limits.style_length, total, "characters of style sheets"
            )
        elif self._usage.style_length + length > self._limits.style_length:
            report.add("style", "style_length")
            return []
        self._usage.style_length += length
        if not texts:
            return []
        text = clean_text("".join(text.text for text in texts))
        cleaned = _clean_style(text, self._limits, report)
        return [replace(texts[0], text=cleaned, attrs={}, children=[])] if cleaned else []
