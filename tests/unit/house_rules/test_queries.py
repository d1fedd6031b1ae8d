"""Code and `sql/*.sql` name the same SQL statements."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

import svgx_auth
import svgx_common.events
import svgx_state
from svgx_common.postgres import load_queries

_QUERY_METHODS = {"row", "rows", "run"}
"""The methods with the name of a statement as their first argument."""


@pytest.mark.parametrize("service", [svgx_auth, svgx_state])
def test_named_statements_and_used_statements_are_equal(service: ModuleType) -> None:
    """Each named statement is used, and each used one exists, because a misspelt name would fail only at run time."""
    defined = set(load_queries(service.__name__))
    used: set[str] = set()
    # Both services have the statements of the outbox.
    folders = (service.__path__[0], svgx_common.events.__path__[0])
    for path in (path for folder in folders for path in Path(folder).rglob("[a-z]*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in _QUERY_METHODS:
                used |= {
                    constant.value
                    for constant in ast.walk(node.args[0])
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
                }
    assert used == defined
