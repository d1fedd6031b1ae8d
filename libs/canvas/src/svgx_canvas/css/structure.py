"""Read the structure of CSS: declarations and rules, as in CSS Syntax Level 3."""

import re

import tinycss2
from tinycss2 import ast
from tinycss2.serializer import serialize_string_value, serialize_url

STRUCTURE = re.compile(r"""[("'\\{}\[\]@/<!]""")
"""Characters that start a string, function, block, escape or comment. A declaration list without them has only names
and plain values, separated by `:` and `;`."""


def stylesheet(text: str) -> list[ast.Node]:
    """Return the rules of a style sheet, without comments."""
    return tinycss2.parse_stylesheet(_tokens(text), skip_whitespace=True)


def block_contents(content: str | list[ast.Node]) -> list[ast.Node]:
    """Return the declarations and rules in a block or a `style` attribute, in order, without comments."""
    tokens = _tokens(content) if isinstance(content, str) else content
    nodes = tinycss2.parse_blocks_contents(tokens, skip_whitespace=True)
    return [_as_custom_property(node) for node in nodes]


def _as_custom_property(node: ast.Node) -> ast.Node:
    """Return a rule as a declaration if it starts like `--name:`. tinycss2 takes `--a: b {c}` for a rule."""
    if not isinstance(node, ast.QualifiedRule):
        return node
    parts = [token for token in node.prelude if not isinstance(token, ast.WhitespaceToken)]
    if len(parts) < 2 or not isinstance(parts[0], ast.IdentToken) or parts[1] != ":":
        return node
    name = parts[0]
    if not name.value.startswith("--"):
        return node
    line, column = node.source_line, node.source_column
    block = ast.CurlyBracketsBlock(line, column, node.content)
    value = [*node.prelude[node.prelude.index(parts[1]) + 1 :], block]
    return ast.Declaration(line, column, name.value, name.lower_value, value, important=False)


def _tokens(text: str) -> list[ast.Node]:
    """Return the tokens of a text without comments. A string or URL that is open at the end of the text is closed."""
    tokens = tinycss2.parse_component_value_list(text, skip_comments=True)
    last = tokens
    while last and (inner := _inner(last[-1])) is not None:
        last = inner
    if len(last) > 1 and isinstance(last[-1], ast.ParseError):
        token = last[-2]
        if last[-1].kind == "eof-in-string" and isinstance(token, ast.StringToken):
            token.representation = f'"{serialize_string_value(token.value)}"'
            del last[-1]
        elif last[-1].kind == "eof-in-url" and isinstance(token, ast.URLToken):
            token.representation = f"url({serialize_url(token.value)})"
            del last[-1]
    return tokens


def _inner(token: ast.Node) -> list[ast.Node] | None:
    if isinstance(token, ast.FunctionBlock):
        return token.arguments
    if isinstance(token, ast.ParenthesesBlock | ast.SquareBracketsBlock | ast.CurlyBracketsBlock):
        return token.content
    return None
