"""Read the tokens of CSS with tinycss2."""

import re
import sys

import tinycss2
from tinycss2 import ast

_LONG_INTEGER = re.compile(f"(?<![0-9])[0-9]{{{sys.int_info.str_digits_check_threshold + 1},}}")
"""An integer with more digits than the smallest limit that Python can have for the conversion of text to an integer."""

_SYNTAX_ERROR = " url(() "
"""An invalid URL. It makes the declaration, selector or condition around it invalid, and ends no string or block."""


def read_tokens(text: str, *, skip_comments: bool = False) -> list[ast.Node]:
    """Return the tokens of a text.

    tinycss2 converts integers with `int`, which refuses more than 4,300 digits. In a text with such an integer, each
    very long row of digits is read as a syntax error, and in a string as other characters. No drawing needs so many
    digits.
    """
    try:
        return tinycss2.parse_component_value_list(text, skip_comments)
    except ValueError:
        shorter = _LONG_INTEGER.sub(_SYNTAX_ERROR, text)
        return tinycss2.parse_component_value_list(shorter, skip_comments)
