"""Read references, classes and declarations as resvg does, where resvg differs from CSS.

resvg's readers (svgtypes and simplecss) know no escapes. They find the end of a URL, string, function or declaration at
other characters. Without this module, a file could hide a part of its cost: resvg would follow references that only a
reader with the same grammar finds. Sources: `crates/usvg/src/parser` of resvg, and the crates svgtypes and simplecss.
"""

import re
from collections.abc import Iterator

_SPACE = "[ \t\n\r]*+"
_GAP = r"(?:[ \t\n\r\f]|/\*.*?\*/)*+"
"""White space and comments."""
_NAME = "-?[A-Z_a-z\u00ee-\U0010ffff][-0-9A-Z_a-z\u00ee-\U0010ffff]*+"
_TERM = rf"""
    \#(?:{_NAME}|[0-9A-Fa-f]*+)
    | [-+.0-9][0-9]*+(?:\.[0-9]*+)?(?:%|{_NAME}|-)?
    | "(?:[^"]|(?<=\\)")*+" | '(?:[^']|(?<=\\)')*+'
    | ,
    | {_NAME}(?:\([^)]*+\))?
"""
_DECLARATION = re.compile(
    rf"{_GAP} \*? ({_NAME}) {_GAP}:{_GAP} ((?:(?>{_TERM}){_GAP})++)"
    rf"(?:!{_GAP}(?:important)?{_GAP})? (?:;{_GAP})*+",
    re.DOTALL | re.VERBOSE,
)
"""A declaration. It needs no semicolon after "!", nor before a name with an asterisk, as in `fill:red*mask:url(#a)`."""

_URL = re.compile(rf"""url{_SPACE}\({_SPACE}(?:"{_SPACE}#([^"]*+)|'{_SPACE}#([^']*+)|#([^ )]*+))""")
_CLASS = re.compile("[^ \t\n\r\f]+")
_FILTER_FUNCTION = re.compile(
    r"(?:blur|brightness|contrast|drop-shadow|grayscale|hue-rotate|invert|opacity|saturate|sepia)\s*\(",
    re.IGNORECASE,
)


def class_names(text: str) -> list[str]:
    """Return the classes in a `class` attribute.

    Only white space of ASCII separates classes. resvg separates them at spaces only, but its selectors cannot name a
    class with other white space of ASCII.
    """
    return _CLASS.findall(text)


def href_ids(text: str) -> list[str]:
    """Return the ids that a fragment in `href` may refer to: first the one that resvg reads, then that of browsers."""
    text = text.lstrip(" \t\n\r\f")
    if not text.startswith("#"):
        return []
    return list(dict.fromkeys((text[1:].partition(" ")[0], text[1:].rstrip(" \t\n\r\f"))))


def url_ids(value: str) -> list[str]:
    """Return the ids that resvg reads in the references of a value, in order."""
    return [
        unquoted or (double or single).rstrip() for double, single, unquoted in _URL.findall(value)
    ]


def declarations(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each declaration that resvg reads in a `style` attribute or a rule's block."""
    end = 0
    while (found := _DECLARATION.match(text, end)) is not None:
        yield found[1], found[2].strip()
        end = found.end()


def filter_functions(value: str) -> int:
    """Return an upper bound of the number of functions such as `blur()` in a value of the property `filter`."""
    return len(_FILTER_FUNCTION.findall(value))
