"""Clean CSS, so that it fetches nothing and runs nothing.

The CSS is parsed with tinycss2, which follows the CSS Syntax module as browsers do, escapes included: it reads
`u\\72l(` as `url(`. Values without a parenthesis, and declaration lists that have only names and plain values, are not
parsed, because they cannot contain a URL or a function.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

import tinycss2
from tinycss2 import ast

from svgx_canvas.allow_list import PROPERTIES, words
from svgx_canvas.limits import Limits, check_limit

ReportDropped = Callable[[str, str], None]
"""Takes the name of a dropped thing and the reason."""

_FUNCTIONS = words(
    """
    abs acos asin atan atan2 attr blur brightness calc circle clamp color color-mix contrast cos
    cubic-bezier device-cmyk drop-shadow ellipse env exp grayscale hsl hsla hue-rotate hwb hypot
    icc-color inset invert lab lch light-dark linear log matrix matrix3d max min mod oklab oklch
    opacity path perspective polygon pow ray rect rem rgb rgba rotate rotate3d rotatex rotatey
    rotatez round saturate scale scale3d scalex scaley scalez sepia sign sin skew skewx skewy sqrt
    steps tan translate translate3d translatex translatey translatez var xywh
    """
)
"""Functions that refer to no resource, in lower case. `url` has a rule of its own."""

_TRANSFORMS = re.compile(
    r"(?:[\s,]*+(?:matrix|translate|scale|rotate|skewX|skewY)\s*+\([-+0-9eE.,\s]*+\))*+[\s,]*+"
)
"""A transform list in the SVG grammar. Its quantifiers are possessive, so that matching takes linear time."""

_STRUCTURE = re.compile(r"""[("'\\{}\[\]@/<!]""")
"""Characters that start a string, function, block, escape or comment. A declaration list without them has only names
and plain values, separated by `:` and `;`."""

_NESTED_RULES = frozenset({"media", "supports", "keyframes", "-webkit-keyframes"})
_MAX_NESTING = 32
_BLOCKS = (ast.ParenthesesBlock, ast.SquareBracketsBlock, ast.CurlyBracketsBlock)


def value_is_safe(value: str) -> bool:
    """Return whether the value of a property or presentation attribute refers to nothing outside the document."""
    # Without a parenthesis there is neither a URL nor a function, escaped or not.
    return "(" not in value or _value_is_safe(value)


def transform_is_safe(value: str) -> bool:
    """Return whether the value of a transform attribute refers to nothing outside the document.

    Most values match the SVG grammar. That check comes first, because it is faster than parsing CSS.
    """
    return _TRANSFORMS.fullmatch(value) is not None or value_is_safe(value)


@lru_cache(maxsize=4096)
def _value_is_safe(value: str) -> bool:
    return _tokens_are_safe(tinycss2.parse_component_value_list(value))


def _tokens_are_safe(tokens: Iterable[ast.Node], *, selector: bool = False) -> bool:
    """Return whether the tokens and the contents of their blocks are safe.

    Unsafe tokens are parse errors, URLs other than fragments, and functions outside the list. A selector may have any
    function, because selector functions are harmless, but no URL.
    """
    stack = [iter(tokens)]
    while stack:
        if len(stack) > _MAX_NESTING:  # tinycss2 serializes blocks by recursion
            return False
        token = next(stack[-1], None)
        if token is None:
            stack.pop()
        elif isinstance(token, ast.URLToken) or _is_url(token):
            if selector or not _is_fragment(token):
                return False
        elif isinstance(token, ast.FunctionBlock):
            if not selector and token.lower_name not in _FUNCTIONS:
                return False
            stack.append(iter(token.arguments))
        elif isinstance(token, _BLOCKS):
            stack.append(iter(token.content))
        elif isinstance(token, ast.ParseError | ast.AtKeywordToken):
            return False
    return True


def _is_url(token: ast.Node) -> bool:
    return isinstance(token, ast.FunctionBlock) and token.lower_name == "url"


def _is_fragment(token: ast.Node) -> bool:
    """Return whether a URL is a fragment: `url(#a)` or `url("#a")`."""
    if isinstance(token, ast.URLToken):
        return bool(token.value.startswith("#"))
    assert isinstance(token, ast.FunctionBlock)
    arguments = [
        part for part in token.arguments if not isinstance(part, ast.WhitespaceToken | ast.Comment)
    ]
    return (
        len(arguments) == 1
        and isinstance(arguments[0], ast.StringToken)
        and arguments[0].value.startswith("#")
    )


_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def numbers(text: str) -> list[float]:
    """Return the numbers in an attribute's value, in the SVG syntax. Units and other text are skipped."""
    return [float(number) for number in _NUMBER.findall(text)]


def clean_declarations(text: str, report: ReportDropped) -> str:
    """Return the allowed declarations of a `style` attribute. The text is unchanged if all are allowed."""
    if not _STRUCTURE.search(text):
        kept = [part for part in text.split(";") if _plain_declaration(part, report)]
        return text if len(kept) == text.count(";") + 1 else ";".join(kept)
    cleaned, dropped = _clean_declarations(text)
    for name in dropped:
        report(name, "property" if not name.endswith("()") else "reference")
    return cleaned


def _plain_declaration(part: str, report: ReportDropped) -> bool:
    name, colon, _ = part.partition(":")
    name = name.strip().lower()
    if not name and not colon:
        return True
    if not colon or not _property_allowed(name):
        report(name[:64], "property")
        return False
    return True


@lru_cache(maxsize=4096)
def _clean_declarations(text: str) -> tuple[str, tuple[str, ...]]:
    nodes = tinycss2.parse_declaration_list(text, skip_comments=True, skip_whitespace=True)
    dropped: list[str] = []
    kept = _declarations(nodes, lambda name, _: dropped.append(name))
    if not dropped:
        return text, ()
    return _serialize(kept), tuple(dropped)


def clean_stylesheet(text: str, limits: Limits, report: ReportDropped) -> str:
    """Return the allowed rules of a style sheet: plain rules, and rules in @media, @supports and @keyframes."""
    check_limit("style_length", limits.style_length, len(text), "characters of style sheets")
    nodes = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
    # In a style sheet, "<" occurs only in strings and in selectors that match nothing. It is escaped, so that an HTML
    # parser cannot read it as a tag.
    return _serialize(_rules(nodes, report, 0)).replace("<", "\\3c ")


def selector_count(text: str) -> int:
    """Return about how many selectors a cleaned style sheet has. A renderer tries each of them on each element."""
    return text.count("{") + text.count(",")


def _rules(nodes: Iterable[ast.Node], report: ReportDropped, level: int) -> list[ast.Node]:
    kept: list[ast.Node] = []
    for node in nodes:
        if isinstance(node, ast.QualifiedRule) and _tokens_are_safe(node.prelude, selector=True):
            declarations = tinycss2.parse_declaration_list(
                node.content, skip_comments=True, skip_whitespace=True
            )
            node.content = _declarations(declarations, report)
            kept.append(node)
        elif isinstance(node, ast.AtRule) and _may_nest(node, level):
            inner = tinycss2.parse_rule_list(
                node.content or [], skip_comments=True, skip_whitespace=True
            )
            node.content = _rules(inner, report, level + 1)
            kept.append(node)
        elif isinstance(node, ast.AtRule):
            report("@" + node.lower_at_keyword[:64], "style rule")
        else:
            report(getattr(node, "kind", node.type), "style error")
    return kept


def _may_nest(rule: ast.AtRule, level: int) -> bool:
    return (
        rule.lower_at_keyword in _NESTED_RULES
        and rule.content is not None
        and level < _MAX_NESTING
        and _tokens_are_safe(rule.prelude)
    )


def _declarations(nodes: Iterable[ast.Node], report: ReportDropped) -> list[ast.Node]:
    kept: list[ast.Node] = []
    for node in nodes:
        if not isinstance(node, ast.Declaration):
            report(getattr(node, "kind", node.type), "style error")
        elif not _property_allowed(node.lower_name):
            report(node.lower_name[:64], "property")
        elif not _tokens_are_safe(node.value):
            report(node.lower_name[:62] + "()", "reference")
        else:
            kept.append(node)
    return kept


def _property_allowed(name: str) -> bool:
    return name in PROPERTIES or name.startswith("--")


def _serialize(nodes: Iterable[ast.Node]) -> str:
    parts: list[str] = []
    for node in nodes:
        text = node.serialize()
        parts.append(text + ";" if isinstance(node, ast.Declaration) else text)
    return "".join(parts)


@lru_cache(maxsize=4096)
def fragments(value: str) -> tuple[str, ...]:
    """Return the fragments ("#a") that a value refers to with url(), in order."""
    found: list[str] = []
    stack = [iter(tinycss2.parse_component_value_list(value))]
    while stack:
        for token in stack[-1]:
            if isinstance(token, ast.URLToken):
                found.append(token.value)
            elif isinstance(token, ast.FunctionBlock):
                if token.lower_name == "url":
                    found += [
                        part.value for part in token.arguments if isinstance(part, ast.StringToken)
                    ]
                else:
                    stack.append(iter(token.arguments))
                    break
        else:
            stack.pop()
    return tuple(found)


def declarations(text: str, watched: frozenset[str]) -> list[tuple[str, str]]:
    """Return name and value of the declarations of `watched` properties in a `style` attribute."""
    if not _STRUCTURE.search(text):
        pairs = [part.partition(":") for part in text.split(";")]
        named = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        return [(name, value) for name, value in named if name in watched]
    return [pair for pair in _parsed_declarations(text) if pair[0] in watched]


@lru_cache(maxsize=4096)
def _parsed_declarations(text: str) -> tuple[tuple[str, str], ...]:
    nodes = tinycss2.parse_declaration_list(text, skip_comments=True, skip_whitespace=True)
    return tuple(
        (node.lower_name, tinycss2.serialize(node.value).strip())
        for node in nodes
        if isinstance(node, ast.Declaration)
    )


def sheet_declarations(
    text: str, watched: frozenset[str]
) -> list[tuple[tuple[str, str], str, str]]:
    """Return the declarations of `watched` properties in a cleaned style sheet.

    Each has the key of the last part of its selector, the name and the value. A key is ("class", name), ("id", name),
    ("type", name) or ("any", "").
    """
    found = []
    pending = list(tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.AtRule):
            pending += tinycss2.parse_rule_list(
                node.content or [], skip_comments=True, skip_whitespace=True
            )
        elif isinstance(node, ast.QualifiedRule):
            inner = tinycss2.parse_declaration_list(
                node.content, skip_comments=True, skip_whitespace=True
            )
            pairs = [
                (item.lower_name, tinycss2.serialize(item.value).strip())
                for item in inner
                if isinstance(item, ast.Declaration) and item.lower_name in watched
            ]
            if pairs:
                keys = _selector_keys(node.prelude)
                found += [(key, name, value) for key in keys for name, value in pairs]
    return found


def _selector_keys(prelude: Iterable[ast.Node]) -> set[tuple[str, str]]:
    keys: set[tuple[str, str]] = set()
    key = ("any", "")
    before = " "  # the literal before the token; a space starts a new compound selector
    for token in prelude:
        match token:
            case ast.LiteralToken(value=","):
                keys.add(key)
                key, before = ("any", ""), " "
            case ast.WhitespaceToken() | ast.LiteralToken(value=">" | "+" | "~"):
                before = " "
            case ast.Comment():
                pass
            case _:
                if before == " ":
                    key = ("any", "")
                if isinstance(token, ast.HashToken):
                    key = ("id", token.value)
                elif isinstance(token, ast.IdentToken) and before in " .":
                    key = ("class" if before == "." else "type", token.value)
                before = token.value if isinstance(token, ast.LiteralToken) else ""
    keys.add(key)
    return keys
