"""Clean style sheets and `style` attributes, so that they fetch nothing and run nothing.

The text is read as in CSS Syntax Level 3: rules may be nested, and after an invalid declaration or rule the reader
continues with the next one. A text that is allowed as a whole stays unchanged, except for a style sheet that simple
readers may misread, and for a style sheet with `url()` in `@namespace` (see `clean_stylesheet`). Simple readers, such
as resvg's, find the end of a block by counting braces, and count the braces in strings and comments too.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

import tinycss2
from tinycss2 import ast
from tinycss2.serializer import serialize_identifier, serialize_string_value

from svgx_canvas.css.names import (
    BLOCK_RULES,
    DESCRIPTOR_RULES,
    STATEMENT_RULES,
    property_is_allowed,
    property_may_refer,
    property_takes_picture,
)
from svgx_canvas.css.resources import is_bitmap, may_have_bitmaps
from svgx_canvas.css.structure import STRUCTURE, block_contents, style_attribute, stylesheet
from svgx_canvas.css.tokens import with_escapes
from svgx_canvas.css.values import (
    MAX_NESTING,
    is_cacheable,
    prelude_is_safe,
    safe_font_sources,
    substitutes,
    tokens_are_safe,
    url_of,
    urls,
)
from svgx_canvas.limits import Limits, check_limit

ReportDropped = Callable[[str, str], None]
"""A function that is called for each dropped part, with the name of the part and the reason."""

_AllowedName = Callable[[str], bool]

_STRINGS_AND_COMMENTS = re.compile(r""""[^"\n]*"|'[^'\n]*'|/\*.*?(?:\*/|\Z)""", re.DOTALL)
_MARKUP = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|<[A-Za-z/!?]""", re.DOTALL)
_MARKUP_IN_STRING = re.compile(r"\\[^\\<{}]|\\(\\)|\\?([<{}])", re.DOTALL)
_SPACE_AFTER_FRAGMENT = re.compile(r"url\([ \t\n\r\f]*+#[^ ()\t\n\r\f]*+[\t\n\r\f(]", re.IGNORECASE)
"""A tab or line end after the fragment in `url()`, or a "(" in the fragment.

The fragment ends at "(", so that matching takes linear time.
"""


def clean_declarations(text: str, report: ReportDropped) -> str:
    """Return the allowed declarations of a `style` attribute. The text is unchanged if all are allowed."""
    if not STRUCTURE.search(text):
        kept = [part for part in text.split(";") if _keeps_plain_declaration(part, report)]
        return text if len(kept) == text.count(";") + 1 else ";".join(kept)
    clean = _clean_declarations if is_cacheable(text) else _clean_declarations.__wrapped__
    cleaned, dropped = clean(text)
    for what, reason in dropped:
        report(what, reason)
    return cleaned


def _keeps_plain_declaration(part: str, report: ReportDropped) -> bool:
    """Return whether a declaration without characters of `STRUCTURE` is allowed. Report a forbidden one."""
    name, colon, _ = part.partition(":")
    name = name.strip().lower()
    if not name and not colon:
        return True
    if not colon or not property_is_allowed(name):
        report(name[:64], "property")
        return False
    return True


@lru_cache(maxsize=4096)
def _clean_declarations(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    dropped: list[tuple[str, str]] = []
    cleaner = _Cleaner(lambda what, reason: dropped.append((what, reason)))
    kept = cleaner.declarations(style_attribute(text))
    if not dropped:
        return text, ()
    return _serialize(kept), tuple(dropped)


def clean_stylesheet(text: str, limits: Limits, report: ReportDropped) -> str:
    """Return the allowed rules of a style sheet.

    The text is unchanged if all rules are allowed and if it has no "<", no escape, no brace in a string or comment, no
    tab or line end after a fragment, and no `url()` in `@namespace`. In such a text, simple readers and HTML parsers
    find the same rules and the same end as browsers.
    """
    check_limit("style_length", limits.style_length, len(text), "characters of style sheets")
    cleaner = _Cleaner(report)
    kept = cleaner.stylesheet(stylesheet(text))
    if not cleaner.changed and _is_regular(text):
        return text
    return _without_markup(_serialize(kept))


def without_variable_pictures(text: str, report: ReportDropped, *, sheet: bool) -> str:
    """Return CSS without the pictures that take their URL from a function such as `var()` or `attr()`.

    `text` has been cleaned already. It is a style sheet if `sheet` is true, and otherwise a `style` attribute.
    """
    cleaner = _Cleaner(report, variable_pictures=False)
    if sheet:
        kept = cleaner.stylesheet(stylesheet(text))
        return _without_markup(_serialize(kept)) if cleaner.changed else text
    kept = cleaner.declarations(style_attribute(text))
    return _serialize(kept) if cleaner.changed else text


def without_bitmaps(
    text: str, keeps: Callable[[list[str]], bool], report: Callable[[str], None], *, sheet: bool
) -> str:
    """Return CSS without the declarations with bitmaps that `keeps` refuses.

    `keeps` is called for each declaration that has bitmaps, with the URLs of these bitmaps. Each reading of a text
    calls it in the same order. `report` is called with the name of each removed declaration. `text` has been cleaned
    already. It is a style sheet if `sheet` is true, and otherwise a `style` attribute.
    """
    if not may_have_bitmaps(text):
        return text
    cleaner = _Cleaner(lambda what, _: report(what), keeps_bitmaps=keeps)
    if sheet:
        kept = cleaner.stylesheet(stylesheet(text))
        return _without_markup(_serialize(kept)) if cleaner.changed else text
    kept = cleaner.declarations(style_attribute(text))
    return _serialize(kept) if cleaner.changed else text


def _is_regular(text: str) -> bool:
    """Return whether a style sheet has no "<", no escape, and no brace in a string or comment.

    It also has no tab or line end after the fragment in `url()`, because resvg would add it to the fragment.
    """
    if "<" in text or "\\" in text or _SPACE_AFTER_FRAGMENT.search(text):
        return False
    parts = _STRINGS_AND_COMMENTS.findall(text)
    return not any("{" in part or "}" in part for part in parts)


class _Cleaner:
    """The cleaner of one style sheet or `style` attribute.

    `variable_pictures` allows pictures that take their URL from a function such as `var()` or `attr()`. `keeps_bitmaps`
    takes the URLs of the bitmaps in a declaration, and returns whether the declaration is allowed.
    """

    def __init__(
        self,
        report: ReportDropped,
        *,
        variable_pictures: bool = True,
        keeps_bitmaps: Callable[[list[str]], bool] | None = None,
    ) -> None:
        self._report = report
        self._variable_pictures = variable_pictures
        self._keeps_bitmaps = keeps_bitmaps
        self.changed = False

    def _drop(self, what: str, reason: str) -> None:
        self.changed = True
        self._report(what, reason)

    def stylesheet(self, nodes: Iterable[ast.Node]) -> list[ast.Node]:
        """Return the allowed rules of a style sheet."""
        kept: list[ast.Node] = []
        dropped_rule = False
        for node in nodes:
            if not isinstance(node, ast.AtRule):
                kept += self._contents([node], property_is_allowed, 0)
            elif node.lower_at_keyword == "namespace":
                # A namespace is valid only before all other rules. Dropping these rules must not make it valid.
                if not dropped_rule and self._namespace(node):
                    kept.append(node)
                else:
                    self._drop("@namespace", "style rule")
            elif self._at_rule(node, property_is_allowed, 0):
                kept.append(node)
            else:
                dropped_rule |= node.lower_at_keyword in BLOCK_RULES
        return kept

    def declarations(self, nodes: Iterable[ast.Node]) -> list[ast.Node]:
        """Return the allowed declarations of a `style` attribute, which has no rules."""
        kept: list[ast.Node] = []
        for node in nodes:
            if not isinstance(node, ast.Declaration):
                self._drop(getattr(node, "kind", node.type), "style error")
            elif self._declaration(node, property_is_allowed):
                kept.append(node)
        return kept

    def _contents(
        self, nodes: Iterable[ast.Node], allowed: _AllowedName, level: int
    ) -> list[ast.Node]:
        """Return the allowed declarations and rules. `allowed` tells whether a declaration's name is allowed."""
        kept: list[ast.Node] = []
        for node in nodes:
            match node:
                case ast.Declaration():
                    keep = self._declaration(node, allowed)
                case ast.QualifiedRule():
                    keep = self._style_rule(node, level)
                case ast.AtRule():
                    keep = self._at_rule(node, allowed, level)
                case _:
                    keep = False
                    self._drop(getattr(node, "kind", node.type), "style error")
            if keep:
                kept.append(node)
        return kept

    def _style_rule(self, rule: ast.QualifiedRule, level: int) -> bool:
        """Clean the content of a style rule in place. Return whether the rule is allowed."""
        if level >= MAX_NESTING or not prelude_is_safe(rule.prelude):
            self._drop("qualified-rule", "style error")
            return False
        rule.content = self._contents(block_contents(rule.content), property_is_allowed, level + 1)
        return True

    def _at_rule(self, rule: ast.AtRule, allowed: _AllowedName, level: int) -> bool:
        """Clean the content of an at-rule in place. Return whether the rule is allowed."""
        name = rule.lower_at_keyword
        names = STATEMENT_RULES if rule.content is None else BLOCK_RULES
        if name not in names or level >= MAX_NESTING or not prelude_is_safe(rule.prelude):
            self._drop(f"@{name[:64]}", "style rule")
            return False
        if rule.content is None:
            return True
        nodes = block_contents(rule.content)
        if name == "font-face":
            rule.content = self._font_face(nodes)
        else:
            if name in DESCRIPTOR_RULES:
                allowed = _descriptors(DESCRIPTOR_RULES[name])
            rule.content = self._contents(nodes, allowed, level + 1)
        return True

    def _font_face(self, nodes: Iterable[ast.Node]) -> list[ast.Node]:
        """Return the allowed descriptors of a font, without the files that would be fetched."""
        kept: list[ast.Node] = []
        for node in nodes:
            if not isinstance(node, ast.Declaration):
                self._drop(getattr(node, "kind", node.type), "style error")
            elif node.lower_name == "src":
                sources = safe_font_sources(node.value)
                if sources != node.value:
                    self._drop("src()", "reference")
                if sources:
                    node.value = sources
                    kept.append(node)
            elif self._declaration(node, _descriptors(DESCRIPTOR_RULES["font-face"])):
                kept.append(node)
        return kept

    def _declaration(self, node: ast.Declaration, allowed: _AllowedName) -> bool:
        """Return whether a declaration is allowed."""
        name = node.lower_name
        if not allowed(name):
            self._drop(name[:64], "property")
            return False
        variable = property_takes_picture(name) and substitutes(node.value)
        if (
            tokens_are_safe(node.value, fragments=property_may_refer(name))
            and (self._variable_pictures or not variable)
            and self._bitmaps_are_kept(node)
        ):
            return True
        self._drop(name[:62] + "()", "reference")
        return False

    def _bitmaps_are_kept(self, node: ast.Declaration) -> bool:
        if self._keeps_bitmaps is None:
            return True
        bitmaps = [*filter(is_bitmap, urls(node.value))]
        return not bitmaps or self._keeps_bitmaps(bitmaps)

    def _namespace(self, rule: ast.AtRule) -> bool:
        """Return whether a `@namespace` rule is valid. Turn its URL into a string.

        The URL is allowed, because it is only a name that nothing fetches.
        """
        parts = [
            token
            for token in rule.prelude
            if not isinstance(token, ast.WhitespaceToken | ast.Comment)
        ]
        prefix = parts[:-1]
        if rule.content is not None or not parts or len(prefix) > 1:
            return False
        if prefix and not isinstance(prefix[0], ast.IdentToken):
            return False
        name = parts[-1]
        if isinstance(name, ast.StringToken):
            return True
        url = url_of(name)
        if url is None:
            return False
        text = f'"{serialize_string_value(url)}"'
        string = ast.StringToken(name.source_line, name.source_column, url, text)
        space = ast.WhitespaceToken(name.source_line, name.source_column, " ")
        rule.prelude = [*([space, *prefix] if prefix else []), space, string]
        self.changed = True
        return True


def _descriptors(names: frozenset[str] | None) -> _AllowedName:
    if names is None:
        return lambda _: True
    return lambda name: name in names or name.startswith("--")


def _serialize(nodes: Iterable[ast.Node]) -> str:
    """Return rules and declarations as text, with an escape for each character that XML forbids."""
    return with_escapes(_text_of(nodes))


def _text_of(nodes: Iterable[ast.Node]) -> str:
    parts: list[str] = []
    for node in nodes:
        match node:
            case ast.AtRule():
                prelude = tinycss2.serialize(node.prelude)
                space = "" if prelude[:1].isspace() else " "
                end = ";" if node.content is None else f"{{{_text_of(node.content)}}}"
                parts.append(f"@{serialize_identifier(node.at_keyword)}{space}{prelude}{end}")
            case ast.QualifiedRule():
                parts.append(f"{tinycss2.serialize(node.prelude)}{{{_text_of(node.content)}}}")
            case _:
                parts.append(node.serialize() + ";")
    return "".join(parts)


def _without_markup(text: str) -> str:
    """Escape "<" and braces in strings and names, so that neither an HTML parser nor a simple reader finds markup.

    A backslash gets an escape without a second backslash, because resvg would take a quote after it for an escaped one.
    A "<" that is an operator, as in `(9px<width)`, stays; the letter after it is escaped.
    """

    def escape(match: re.Match[str]) -> str:
        part = match.group()
        if part[0] == "<":
            return f"<\\{ord(part[1]):x} " if part[1].isalpha() else f"< {part[1]}"
        return _MARKUP_IN_STRING.sub(
            lambda found: f"\\{ord(found[found.lastindex]):x} " if found.lastindex else found[0],
            part,
        )

    return _MARKUP.sub(escape, text)
