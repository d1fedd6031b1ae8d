"""Read the structure of CSS: declarations and rules, as in CSS Syntax Level 3."""

import re

import tinycss2
from tinycss2 import ast
from tinycss2.serializer import serialize_string_value, serialize_url

from svgx_canvas.css.tokens import read_tokens

STRUCTURE = re.compile(r"""[("'\\{}\[\]@/<!]""")
"""Characters that belong to strings, functions, blocks, escapes, comments, at-rules or `!important`. A declaration list
without them has only names and plain values, separated by `:` and `;`."""


def stylesheet(text: str) -> list[ast.Node]:
    """Return the rules of a style sheet, without comments."""
    return [*tinycss2.parse_stylesheet(_tokens(text), skip_whitespace=True)]


def block_contents(content: list[ast.Node]) -> list[ast.Node]:
    """Return the declarations and rules in a block, in order. `content` has no comments."""
    return _contents(content, rules=True)


def style_attribute(text: str) -> list[ast.Node]:
    """Return the declarations of a `style` attribute, without comments.

    Browsers read no rules here: in `.a{fill:red} r:1px;x:2px`, the text before the semicolon is an invalid declaration.
    """
    return _contents(_tokens(text), rules=False)


def _contents(tokens: list[ast.Node], *, rules: bool) -> list[ast.Node]:
    """Parse declarations, and with `rules` also rules. tinycss2 parses all parts except for custom properties."""

    def parse(part: list[ast.Node]) -> list[ast.Node]:
        if rules:
            return [*tinycss2.parse_blocks_contents(part, skip_whitespace=True)]
        return [*tinycss2.parse_declaration_list(part, skip_whitespace=True)]

    if not any(_is_custom_name(token) for token in tokens):
        return parse(tokens)
    nodes: list[ast.Node] = []
    others: list[ast.Node] = []
    may_start, index = True, 0
    while index < len(tokens):
        token = tokens[index]
        custom = _custom_property(tokens, index) if may_start else None
        if custom is not None:
            nodes += parse(others)
            others = []
            declaration, index = custom
            nodes.append(declaration)
            continue
        others.append(token)
        index += 1
        if _is_literal(token, ";") or (rules and isinstance(token, ast.CurlyBracketsBlock)):
            may_start = True
        elif not isinstance(token, ast.WhitespaceToken):
            may_start = False
    return nodes + parse(others)


def _custom_property(tokens: list[ast.Node], start: int) -> tuple[ast.Declaration, int] | None:
    """Return the custom property that starts at an index, and the index after it, or None if none starts there.

    tinycss2 is not used for this, because it ends the value of a custom property at the first block in it.
    """
    name = tokens[start]
    if not isinstance(name, ast.IdentToken) or not _is_custom_name(name):
        return None
    colon = start + 1
    while colon < len(tokens) and isinstance(tokens[colon], ast.WhitespaceToken):
        colon += 1
    if colon == len(tokens) or not _is_literal(tokens[colon], ":"):
        return None
    end = colon + 1
    while end < len(tokens) and not _is_literal(tokens[end], ";"):
        end += 1
    value = tokens[colon + 1 : end]
    line, column = name.source_line, name.source_column
    return ast.Declaration(line, column, name.value, name.lower_value, value, False), end


def _is_literal(token: ast.Node, value: str) -> bool:
    return isinstance(token, ast.LiteralToken) and bool(token.value == value)


def _is_custom_name(token: ast.Node) -> bool:
    return isinstance(token, ast.IdentToken) and bool(token.value.startswith("--"))


def _tokens(text: str) -> list[ast.Node]:
    """Return the tokens of a text without comments. A string or URL that is open at the end of the text is closed."""
    tokens = read_tokens(text, skip_comments=True)
    innermost = tokens
    while innermost and (inner := _inner(innermost[-1])) is not None:
        innermost = inner
    if len(innermost) > 1 and isinstance(innermost[-1], ast.ParseError):
        token = innermost[-2]
        if innermost[-1].kind == "eof-in-string" and isinstance(token, ast.StringToken):
            token.representation = f'"{serialize_string_value(token.value)}"'
            del innermost[-1]
        elif innermost[-1].kind == "eof-in-url" and isinstance(token, ast.URLToken):
            token.representation = f"url({serialize_url(token.value)})"
            del innermost[-1]
    return tokens


def _inner(token: ast.Node) -> list[ast.Node] | None:
    if isinstance(token, ast.FunctionBlock):
        return token.arguments
    if isinstance(token, ast.ParenthesesBlock | ast.SquareBracketsBlock | ast.CurlyBracketsBlock):
        return token.content
    return None
