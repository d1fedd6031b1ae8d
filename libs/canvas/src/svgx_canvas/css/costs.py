"""Find the selectors and declarations of CSS that determine the cost of rendering a canvas."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache

from tinycss2 import ast

from svgx_canvas.css import resvg_reading
from svgx_canvas.css.resources import bitmap, may_have_bitmaps
from svgx_canvas.css.structure import STRUCTURE, block_contents, style_attribute, stylesheet
from svgx_canvas.css.tokens import read_tokens, write_tokens
from svgx_canvas.css.values import is_cacheable, urls, value_ids

Key = tuple[str, str]
"""The key of a selector: the last class, id or type outside of parentheses in its last compound selector.

It is ("class", name), ("id", name) or ("type", name), or ("any", "") if the compound selector has none of them.
"""

_ANY: Key = ("any", "")
_COMBINATORS = frozenset({">", "+", "~", "||"})


def selector_count(text: str) -> int:
    """Return the approximate number of selectors in a cleaned style sheet.

    A renderer tries each selector on each element.
    """
    return text.count("{") + text.count(",")


def declarations(text: str, watched: frozenset[str]) -> list[tuple[str, str]]:
    """Return the name and the value of each declaration of a `watched` property in a `style` attribute.

    The declarations include those that only resvg finds.
    """
    # Without quotes, brackets, comments, escapes and asterisks, each semicolon ends a declaration.
    if "*" not in text and not STRUCTURE.search(text):
        pairs = [part.partition(":") for part in text.split(";")]
        named = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        return [(name, value) for name, value in named if name in watched]
    parsed = _parsed_declarations if is_cacheable(text) else _parsed_declarations.__wrapped__
    return [pair for pair in parsed(text) if pair[0] in watched]


@lru_cache(maxsize=4096)
def _parsed_declarations(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [
        (node.lower_name, write_tokens(node.value).strip())
        for node in style_attribute(text)
        if isinstance(node, ast.Declaration)
    ]
    return (*pairs, *_declarations_of_resvg(text, pairs))


def _declarations_of_resvg(text: str, known: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the declarations that resvg reads in a `style` attribute or a rule's block, except those in `known`."""

    def effect(name: str, value: str) -> tuple[str, str | tuple[str, ...]]:
        return name, value_ids(value) or value

    effects = {effect(*pair) for pair in known}
    return [pair for pair in resvg_reading.declarations(text) if effect(*pair) not in effects]


def sheet_declarations(
    text: str, watched: frozenset[str]
) -> tuple[dict[frozenset[Key], dict[tuple[str, str], None]], int]:
    """Return the declarations of `watched` properties in a cleaned style sheet, and the characters that resvg reads.

    The dictionary maps the keys of a rule's selectors to the different names and values of its declarations. The values
    of the inner dictionaries are unused. A declaration directly in an at-rule has the keys of the style rule around the
    at-rule. Without such a style rule, the key is ("any", ""). The declarations include those that only resvg finds.

    resvg reads the block of a rule once for each of its selectors.
    """
    characters = 0
    found: dict[frozenset[Key], dict[tuple[str, str], None]] = defaultdict(dict)
    for node, keys in _all_nodes(text):
        if isinstance(node, ast.Declaration):
            pairs = [(node.lower_name, write_tokens(node.value).strip())]
        else:
            own = [
                (inner.lower_name, write_tokens(inner.value).strip())
                for inner in block_contents(node.content)
                if isinstance(inner, ast.Declaration)
            ]
            block = write_tokens(node.content)
            characters += _number_of_selectors(node) * len(block)
            pairs = _declarations_of_resvg(block, own)
        for name, value in pairs:
            if name in watched:
                found[keys][name, value] = None
    return found, characters


def _number_of_selectors(rule: ast.QualifiedRule) -> int:
    commas = sum(
        isinstance(token, ast.LiteralToken) and token.value == "," for token in rule.prelude
    )
    return commas + 1


def _all_nodes(
    text: str,
) -> Iterator[tuple[ast.Declaration | ast.QualifiedRule, frozenset[Key]]]:
    """Yield all declarations and style rules of a style sheet.

    A declaration has the keys of the selectors of the rule around it, and a style rule has those of its own selectors.
    """
    pending = [(node, frozenset({_ANY})) for node in stylesheet(text)]
    while pending:
        node, keys = pending.pop()
        if isinstance(node, ast.Declaration):
            yield node, keys
        elif isinstance(node, ast.AtRule):
            keyframes = node.lower_at_keyword.endswith("keyframes")
            for inner in block_contents(node.content or []):
                if keyframes and isinstance(inner, ast.QualifiedRule):
                    # The name of a keyframe, such as "from", is not the type of an element.
                    inner.prelude = []
                pending.append((inner, keys))
        elif isinstance(node, ast.QualifiedRule):
            inner_keys = selector_keys(node.prelude)
            yield node, inner_keys
            pending += [(inner, inner_keys) for inner in block_contents(node.content)]


def sheet_has_fragment_in_custom_property(text: str) -> bool:
    """Return whether a custom property in a style sheet refers to a fragment, as in `url(#a)`."""
    return _may_have_url_in_custom_property(text) and any(
        isinstance(node, ast.Declaration) and _is_fragment_in_custom_property(node)
        for node, _ in _all_nodes(text)
    )


def style_has_fragment_in_custom_property(text: str) -> bool:
    """Return whether a custom property in a `style` attribute refers to a fragment, as in `url(#a)`."""
    return _may_have_url_in_custom_property(text) and any(
        isinstance(node, ast.Declaration) and _is_fragment_in_custom_property(node)
        for node in style_attribute(text)
    )


def _is_fragment_in_custom_property(node: ast.Declaration) -> bool:
    return node.name.startswith("--") and any(url.startswith("#") for url in urls(node.value))


def _may_have_url_in_custom_property(text: str) -> bool:
    return "\\" in text or ("--" in text and "url(" in text.lower())


def selector_keys(prelude: list[ast.Node]) -> frozenset[Key]:
    """Return the keys of all selectors in a list.

    A compound selector without a class, id or type, such as `&` or `:is(a, b)`, has the key ("any", ""), because it may
    match elements of any class, id and type.
    """
    keys: set[Key] = set()
    # `before` is the literal before the token. It is a space where a compound selector begins: at the start, and after
    # whitespace, a comma, a combinator or a namespace. It is empty after any other token that is no literal.
    key, before = _ANY, " "
    for token in prelude:
        match token:
            case ast.LiteralToken(value=","):
                keys.add(key)
                key, before = _ANY, " "
            case ast.WhitespaceToken():
                before = " "
            case ast.LiteralToken() if token.value in _COMBINATORS:
                before = " "
            case ast.LiteralToken(value="|"):
                # The name before the bar is a namespace.
                key, before = _ANY, " "
            case ast.Comment():
                pass
            case _:
                if before == " ":
                    key = _ANY
                if isinstance(token, ast.HashToken):
                    key = ("id", token.value)
                elif isinstance(token, ast.IdentToken) and before in (" ", "."):
                    key = ("class" if before == "." else "type", token.value)
                before = token.value if isinstance(token, ast.LiteralToken) else ""
    keys.add(key)
    return frozenset(keys)


def bitmap_pixels(text: str) -> int:
    """Return the number of pixels of all bitmaps in a style sheet, `style` attribute or value.

    A bitmap that occurs twice counts twice.
    """
    if not may_have_bitmaps(text):
        return 0
    bitmaps = [bitmap(url) for url in urls(read_tokens(text, skip_comments=True))]
    return sum(item.width * item.height for item in bitmaps if item is not None)
