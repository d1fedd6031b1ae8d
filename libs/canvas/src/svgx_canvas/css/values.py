"""Decide whether CSS values fetch something.

A value is checked token by token, so the result does not depend on the place where a rule or declaration ends.
tinycss2 reads tokens as browsers do, escapes included: it reads `u\\72l(` as `url(`.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from tinycss2 import ast

from svgx_canvas.css.names import (
    IMAGE_FUNCTIONS,
    function_is_allowed,
    function_substitutes,
    property_may_refer,
    property_takes_picture,
)
from svgx_canvas.css.resources import is_bitmap, is_font
from svgx_canvas.css.resvg_reading import url_ids
from svgx_canvas.css.tokens import read_tokens

MAX_NESTING = 32
"""The most levels of nested blocks and rules. There is a limit because tinycss2 serializes blocks by recursion."""

_TRANSFORMS = re.compile(
    r"(?:[\s,]*+(?:matrix|translate|scale|rotate|skewX|skewY)\s*+\([-+0-9eE.,\s]*+\))*+[\s,]*+"
)
"""A transform list in the SVG grammar. Its quantifiers are possessive, so that matching takes linear time."""

_BLOCKS = (ast.ParenthesesBlock, ast.SquareBracketsBlock, ast.CurlyBracketsBlock)
_HTML_COMMENT = frozenset({"<!--", "-->"})
_NOT_IN_URLS = re.compile("[<{}]")
"""Characters that no unquoted URL may have.

HTML parsers and simple readers (see `cleaning`) take them for the start of a tag or block.
"""

_MAX_CACHEABLE_CHARACTERS = 10_000
"""The result for a longer text is not cached, because the caches would need too much memory."""

_FONT_FUNCTIONS = frozenset({"format", "local", "tech"})
_ADDRESS_TYPES = frozenset({"image", "src", "url"})


def value_is_safe(name: str, value: str) -> bool:
    """Return whether the value of a property or presentation attribute fetches nothing."""
    # Without a parenthesis there is neither a URL nor a function, escaped or not.
    if "(" not in value:
        return True
    check = _value_is_safe if is_cacheable(value) else _value_is_safe.__wrapped__
    return check(value, property_may_refer(name))


def is_cacheable(text: str) -> bool:
    """Return whether a text is short enough for a cache of results."""
    return len(text) <= _MAX_CACHEABLE_CHARACTERS


def picture_is_variable(name: str, value: str) -> bool:
    """Return whether a presentation attribute takes its picture from a function such as `var()` or `attr()`."""
    if "(" not in value or not property_takes_picture(name):
        return False
    return substitutes(read_tokens(value))


def transform_is_safe(value: str) -> bool:
    """Return whether the value of a transform attribute fetches nothing.

    Most values match the SVG grammar. That check comes first, because it is faster than parsing CSS.
    """
    return _TRANSFORMS.fullmatch(value) is not None or value_is_safe("transform", value)


@lru_cache(maxsize=4096)
def _value_is_safe(value: str, fragments: bool) -> bool:
    return tokens_are_safe(read_tokens(value), fragments=fragments)


def tokens_are_safe(tokens: Iterable[ast.Node], *, fragments: bool) -> bool:
    """Return whether the tokens of a value, and the contents of their blocks, fetch nothing.

    A URL may be a bitmap in a `data:` URL. With `fragments`, a URL outside of `IMAGE_FUNCTIONS` may also be a fragment.
    Functions that `function_is_allowed` refuses are unsafe. Strings and substitutions in `IMAGE_FUNCTIONS` are unsafe
    too, because these functions take the address of a picture as a string.
    """
    stack: list[tuple[Iterator[ast.Node], str]] = [(iter(tokens), "")]
    while stack:
        if len(stack) > MAX_NESTING:
            return False
        rest, context = stack[-1]
        token = next(rest, None)
        if token is None:
            stack.pop()
        elif isinstance(token, ast.FunctionBlock) and token.lower_name != "url":
            if not _function_is_safe(token, context):
                return False
            stack.append((iter(token.arguments), _context_in(token.lower_name, context)))
        elif isinstance(token, _BLOCKS):
            stack.append((iter(token.content), context))
        elif isinstance(token, ast.StringToken):
            if context == "image":
                return False
        elif (url := url_of(token)) is not None:
            is_reference = fragments and not context and url.startswith("#")
            if not is_reference and not is_bitmap(url):
                return False
        elif _is_broken(token):
            return False
    return True


def _function_is_safe(function: ast.FunctionBlock, context: str) -> bool:
    if context == "type" or not function_is_allowed(function.lower_name):
        return False
    if context == "image" and function_substitutes(function.lower_name):
        return False
    return function.lower_name != "attr" or _attr_is_safe(function.arguments)


def _context_in(function: str, context: str) -> str:
    """Return the context of the tokens in `function`: "image", "type" (the media type of an image) or "".

    `context` is the context that the function itself is in. "" stands for every other context.
    """
    if function in IMAGE_FUNCTIONS:
        return "image"
    return "type" if function == "type" else context


def _attr_is_safe(arguments: list[ast.Node]) -> bool:
    """Return whether `attr()` reads neither an address nor arbitrary CSS from an attribute."""
    significant = _significant(arguments)
    for token in significant[1:]:
        parts = token.arguments if isinstance(token, ast.FunctionBlock) else [token]
        for part in parts:
            if isinstance(part, ast.IdentToken) and part.lower_value in _ADDRESS_TYPES:
                return False
            if isinstance(part, ast.LiteralToken) and part.value == "*":
                return False
    return True


def prelude_is_safe(tokens: Iterable[ast.Node]) -> bool:
    """Return whether a selector or the condition of an at-rule has no URL and no syntax error.

    Functions are harmless here, because browsers only compare a selector or condition, and fetch nothing for it.
    """
    stack = [iter(tokens)]
    while stack:
        if len(stack) > MAX_NESTING:
            return False
        token = next(stack[-1], None)
        if token is None:
            stack.pop()
        elif url_of(token) is not None or _is_broken(token):
            return False
        elif isinstance(token, ast.CurlyBracketsBlock):
            # A block in braces is invalid here, and simple readers (see `cleaning`) take it for the rule's block.
            return False
        elif isinstance(token, ast.FunctionBlock):
            stack.append(iter(token.arguments))
        elif isinstance(token, _BLOCKS):
            stack.append(iter(token.content))
    return True


def safe_font_sources(tokens: list[ast.Node]) -> list[ast.Node]:
    """Return the value of `src` in `@font-face` without the fonts that would be fetched.

    Installed fonts and fonts in `data:` URLs are kept, separated by commas.
    """
    kept: list[ast.Node] = []
    source: list[ast.Node] = []
    comma: ast.Node | None = None
    for token in [*tokens, None]:
        if token is not None and not (isinstance(token, ast.LiteralToken) and token.value == ","):
            source.append(token)
            continue
        if _significant(source) and all(_in_font_source(part) for part in source):
            kept += [*([comma] if kept and comma is not None else []), *source]
        comma, source = token or comma, []
    return kept


def _in_font_source(token: ast.Node) -> bool:
    """Return whether a token may be in the source of an installed font or of a font in a `data:` URL."""
    url = url_of(token)
    if url is not None:
        return is_font(url)
    if isinstance(token, ast.FunctionBlock):
        simple = (ast.StringToken, ast.IdentToken, ast.WhitespaceToken, ast.LiteralToken)
        return token.lower_name in _FONT_FUNCTIONS and all(
            isinstance(part, simple) for part in token.arguments
        )
    return isinstance(token, ast.WhitespaceToken)


def url_of(token: ast.Node) -> str | None:
    """Return the URL of `url(a)` or `url("a")`, and None for other tokens.

    Return "" for an unquoted URL with "<", "{" or "}", and for a function `url` with other arguments than one string.
    """
    if isinstance(token, ast.URLToken):
        return "" if _NOT_IN_URLS.search(token.value) else str(token.value)
    if not isinstance(token, ast.FunctionBlock) or token.lower_name != "url":
        return None
    arguments = _significant(token.arguments)
    if len(arguments) == 1 and isinstance(arguments[0], ast.StringToken):
        return str(arguments[0].value)
    return ""


def _is_broken(token: ast.Node) -> bool:
    """Return whether a token is a syntax error, or has no place in a value, selector or condition."""
    return isinstance(token, ast.ParseError | ast.AtKeywordToken) or (
        isinstance(token, ast.LiteralToken) and token.value in _HTML_COMMENT
    )


def _significant(tokens: Iterable[ast.Node]) -> list[ast.Node]:
    return [token for token in tokens if not isinstance(token, ast.WhitespaceToken | ast.Comment)]


_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_PAIR = re.compile(rf"({_NUMBER.pattern})(?:[ \t\n\r]*+,?[ \t\n\r]*+({_NUMBER.pattern}))?")

MAX_NUMBER = 3.4e38
"""The largest number of `numbers`. Renderers store numbers in single precision, which ends just above it."""


def numbers(text: str, most: int) -> list[float]:
    """Return the first numbers in an attribute's value, in the SVG syntax. Units and other text are skipped.

    A number outside of -`MAX_NUMBER` to `MAX_NUMBER` becomes the nearer one of these two.
    """
    return [_number(found[0]) for found in islice(_NUMBER.finditer(text), most)]


def pair(text: str) -> tuple[float, float] | None:
    """Return the two numbers of an attribute that has one or two numbers, or None if it has none.

    A single number counts for both. So does a number that is followed by other text than a number, as in resvg.
    """
    found = _PAIR.search(text)
    return (_number(found[1]), _number(found[2] or found[1])) if found is not None else None


def _number(text: str) -> float:
    return max(-MAX_NUMBER, min(float(text), MAX_NUMBER))


def substitutes(tokens: Iterable[ast.Node]) -> bool:
    """Return whether tokens or the contents of their blocks have a function such as `var()` or `attr()`."""
    stack = [iter(tokens)]
    while stack:
        token = next(stack[-1], None)
        if token is None:
            stack.pop()
        elif isinstance(token, ast.FunctionBlock):
            if function_substitutes(token.lower_name):
                return True
            stack.append(iter(token.arguments))
        elif isinstance(token, _BLOCKS):
            stack.append(iter(token.content))
    return False


def urls(tokens: Iterable[ast.Node]) -> list[str]:
    """Return all URLs in tokens and the contents of their blocks, in order."""
    result: list[str] = []
    stack = [iter(tokens)]
    while stack:
        token = next(stack[-1], None)
        if token is None:
            stack.pop()
        elif (url := url_of(token)) is not None:
            result.append(url)
        elif isinstance(token, ast.FunctionBlock):
            stack.append(iter(token.arguments))
        elif isinstance(token, _BLOCKS):
            stack.append(iter(token.content))
    return result


def value_urls(value: str) -> tuple[str, ...]:
    """Return the URLs of a cleaned value, in order: fragments ("#a") and `data:` URLs."""
    return tuple(urls(read_tokens(value)))


def value_ids(value: str) -> tuple[str, ...]:
    """Return the ids of the elements that a value refers to: first those that resvg reads, then others of browsers."""
    return (_value_ids if is_cacheable(value) else _value_ids.__wrapped__)(value)


@lru_cache(maxsize=4096)
def _value_ids(value: str) -> tuple[str, ...]:
    # Without a parenthesis there is no URL.
    if "(" not in value:
        return ()
    ids = url_ids(value)
    known = set(ids)
    others = [url[1:] for url in value_urls(value) if url.startswith("#")]
    return (*ids, *(name for name in others if name not in known))
