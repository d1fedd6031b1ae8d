"""Read the tokens of CSS with tinycss2, and write them.

The functions correct four faults of tinycss2. It fails at very long integers. It keeps an escaped surrogate, which is
no character. It writes without an escape the characters that XML forbids, and DEL in unquoted URLs.
"""

import re
import sys
from collections.abc import Iterable

import tinycss2
from tinycss2 import ast

from svgx_canvas.svg_writer import NOT_XML

_LONG_INTEGER = re.compile(f"(?<![0-9])[0-9]{{{sys.int_info.str_digits_check_threshold + 1},}}")
"""An integer with more digits than the smallest limit that Python can have for the conversion of text to an integer."""

_SYNTAX_ERROR = " url(() "
"""An invalid URL. It makes the declaration, selector or condition around it invalid, and ends no string or block."""

_ESCAPE = re.compile(r"\\(?:([0-9A-Fa-f]{1,6})(?:\r\n|[ \t\r\n\f])?|.)", re.DOTALL)
"""An escape. The group is the number of a hexadecimal one."""

_UNWRITABLE = re.compile(rf"\\?({NOT_XML}|\x7f)|\\.", re.DOTALL)
"""A character that needs a hexadecimal escape, or an escape of any other character.

DEL needs a hexadecimal escape because it ends an unquoted URL.
"""


def read_tokens(text: str, *, skip_comments: bool = False) -> list[ast.Node]:
    """Return the tokens of a text.

    tinycss2 converts integers with `int`, which refuses more than 4,300 digits. In a text with such an integer, each
    very long row of digits is replaced first: by a syntax error, or by other characters if it is in a string. No
    drawing needs so many digits. An escaped surrogate is read as U+FFFD (CSS Syntax 3, section 4.3.7).
    """
    if "\\" in text:
        text = _ESCAPE.sub(_without_surrogate, text)
    try:
        return tinycss2.parse_component_value_list(text, skip_comments)
    except ValueError:
        shorter = _LONG_INTEGER.sub(_SYNTAX_ERROR, text)
        return tinycss2.parse_component_value_list(shorter, skip_comments)


def _without_surrogate(escape: re.Match[str]) -> str:
    number = int(escape[1] or "0", 16)
    return "\\fffd " if 0xD800 <= number <= 0xDFFF else escape[0]


def write_tokens(nodes: Iterable[ast.Node]) -> str:
    """Return tokens as text. `read_tokens` reads the same tokens from it."""
    return with_escapes(tinycss2.serialize(nodes))


def with_escapes(text: str) -> str:
    """Return text from tinycss2 with an escape for each character that XML forbids."""
    if not _UNWRITABLE.search(text):
        return text
    return _UNWRITABLE.sub(lambda found: f"\\{ord(found[1]):x} " if found[1] else found[0], text)
