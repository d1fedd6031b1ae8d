"""Docstrings and comments name their subjects.

A relative clause in the place of a noun ("who still sends the body") makes the reader guess its subject. This test
looks for the pronouns of such clauses.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from tests.unit.house_rules.sources import ROOT, python_files

_FORBIDDEN = re.compile(r"\b(who|whom|whose|whoever|whatever|what)\b", re.IGNORECASE)
_QUOTED = re.compile(r'`[^`]*`|"[^"]*"|“[^”]*”')
_LITERAL = re.compile(r'[a-z]*("""|\'\'\'|"|\')(.*)\1', re.IGNORECASE | re.DOTALL)


class Violation(NamedTuple):
    """A forbidden word, and its line in the file."""

    line: int
    word: str


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line, and the text, of each docstring, including those of attributes.

    Every string that is a statement is a docstring. The standard library's `ast.get_source_segment` splits the whole
    file into lines for each literal, which takes ten times as long.
    """
    lines = [f"{line}\n" for line in source.split("\n")]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str):
            literal = _source_of(node.value, lines)
            match = _LITERAL.fullmatch(literal)
            yield node.lineno, match[2] if match else literal


def _source_of(node: ast.expr, lines: list[str]) -> str:
    part = lines[node.lineno - 1 : node.end_lineno]
    # Columns are counted in bytes.
    part[-1] = part[-1].encode()[: node.end_col_offset].decode()
    part[0] = part[0].encode()[node.col_offset :].decode()
    return "".join(part)


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line, and the text, of each block of comments on consecutive lines."""
    first, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if lines and token.start[0] != first + len(lines):
                yield first, "\n".join(lines)
                lines = []
            if not lines:
                first = token.start[0]
            lines.append(token.string)
    if lines:
        yield first, "\n".join(lines)


def violations(source: str) -> list[Violation]:
    """Return the forbidden words in the docstrings and comments of a file, in the order of lines."""
    if not _FORBIDDEN.search(source):
        return []
    found = [
        Violation(first + text.count("\n", 0, match.start()), match[0])
        for first, original in (*docstrings(source), *comments(source))
        for text in [_QUOTED.sub(_blank, original)]
        for match in _FORBIDDEN.finditer(text)
    ]
    return sorted(found)


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


_SAMPLE = '''"""A module.

    For whoever reads it.
"""

FIRST = "who"
"""What comes first."""

# The client asks "who is there?", and `whose` is a name.
# The answer says whatever
# "it
# knows of what" it is.
second = 2  # whom it concerns


def third() -> None:
    """Return nothing, on whole lines."""
'''


def test_forbidden_words_are_found_outside_quotes() -> None:
    """Docstrings, attribute docstrings and comments are searched; code, strings and quotations are not."""
    assert violations(_SAMPLE) == [(3, "whoever"), (7, "What"), (10, "whatever"), (13, "whom")]


def test_docstrings_and_comments_name_their_subjects() -> None:
    """No docstring and no comment has a relative clause in the place of a noun."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in python_files()
        for line, word in violations(path.read_text(encoding="utf-8"))
    ]
    assert not found, f"{len(found)} violations:\n" + "\n".join(found)
