"""Code and `queries.sql` name the same statements."""

import ast
from pathlib import Path

import svgx_auth
from svgx_common.postgres import load_queries

_METHODS = {"row", "rows", "run", "run_many"}


def test_each_statement_is_used_and_each_used_one_exists() -> None:
    """A misspelt name would only be found when it runs."""
    named = set(load_queries("svgx_auth"))
    used: set[str] = set()
    for path in Path(svgx_auth.__path__[0]).glob("[a-z]*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in _METHODS:
                used |= {
                    constant.value
                    for constant in ast.walk(node.args[0])
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
                }
    assert used == named
