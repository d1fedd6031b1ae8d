"""The check of each change by the SVG policy. Imports leave out forbidden content; a change with any is refused."""

from collections.abc import Iterable, Mapping

from svgx_canvas import allow_list, css
from svgx_canvas.changes.refusals import forbidden, malformed
from svgx_canvas.limits import Limits, check_limit
from svgx_canvas.policy import (
    Report,
    clean_attributes,
    clean_text,
    keeps_text,
    refusal_reason,
)
from svgx_canvas.svg_reader import picture_cleaner
from svgx_canvas.tree import TEXT, Element


class PolicyCheck:
    """The check of one request's changes. Their SVG pictures share the limits of one file."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._report = Report()
        self._pictures = picture_cleaner(limits, self._report, strict=False)

    def check_place(self, element: Element, parents: Iterable[Element], field: str) -> None:
        """Raise `SvgRefused` unless the element may be in a parent. `parents` are the parent and its ancestors."""
        parents = list(parents)
        parent = parents[0]
        if parent.tag not in allow_list.ELEMENTS:
            raise forbidden(f"{field}.parent", "place")
        if element.tag == TEXT:
            in_text = any(each.tag in allow_list.TEXT_ELEMENTS for each in parents)
            if not keeps_text(parent.tag, in_text=in_text):
                raise forbidden(f"{field}.parent", "place")
            return
        reason = refusal_reason(element.tag, parent.tag, element.attrs)
        if reason:
            names = {"element": "tag", "place": "parent", "animation": "attrs.attributeName"}
            raise forbidden(f"{field}.{names[reason]}", reason)

    def clean_attributes(
        self, element: Element, attrs: Mapping[str, str], field: str
    ) -> dict[str, str]:
        """Return new attributes of an element as the policy writes them. Raises `SvgRefused` for a forbidden one."""
        target = attrs.get("attributeName", element.attrs.get("attributeName"))
        cleaned: dict[str, str] = {}
        for name, value in attrs.items():
            # An animated value is judged by the name of its target.
            context = {} if target is None else {"attributeName": target}
            report = Report()
            kept = clean_attributes(
                element.tag, {**context, name: value}, self._limits, report, self._pictures
            )
            faults = [*report.dropped(), *self._report.dropped()]
            if name != "attributeName":
                faults = [each for each in faults if each.what != f"{element.tag}@attributeName"]
            if name not in kept or faults:
                raise forbidden(
                    f"{field}.attrs.{name}", faults[0].reason if faults else "attribute"
                )
            cleaned[name] = kept[name]
        return cleaned

    def check_number_of_attributes(self, element: Element, field: str) -> None:
        """Raise `SvgRefused` if an element has too many attributes."""
        check_limit(
            f"{field}.attrs",
            self._limits.attributes,
            len(element.attrs),
            "attributes of one element",
        )

    def clean_text(self, text: str, parent: Element, field: str) -> str:
        """Return new character data as the policy writes it. Raises `SvgRefused` for a forbidden rule of a style."""
        if parent.tag != "style":
            return clean_text(text)
        limit = self._limits.style_length
        check_limit(f"{field}.text", limit, len(text), "characters of style sheets")
        report = Report()
        cleaned = css.clean_stylesheet(clean_text(text), self._limits, report.add)
        for dropped in report.dropped():
            raise forbidden(f"{field}.text", f"{dropped.what}: {dropped.reason}")
        return cleaned


def check_fields(
    element: Element, attrs: Mapping[str, object], text: str | None, field: str
) -> None:
    """Raise `SvgRefused` for attributes of character data, and for character data of another element."""
    if element.tag == TEXT and attrs:
        raise malformed(f"{field}.attrs", f"a {TEXT} has no attributes")
    if element.tag != TEXT and text is not None:
        raise malformed(f"{field}.text", f"only a {TEXT} has character data")
