"""docs/security.md has a row for every OWASP item listed below, with existing tests or the reason for their absence."""

import ast
import re

import pytest

from svgx_common.contract import OPERATIONS
from svgx_common.contract.policy import Scope
from tests.unit.house_rules.sources import ROOT
from tests.unit.house_rules.test_spec import specified_rules

SECTIONS = """
2.1: 3  2.2: 3  2.3: 5  2.4: 2
4.4: 4
6.1: 3  6.2: 12  6.3: 8  6.4: 6  6.5: 8  6.6: 4  6.7: 2  6.8: 4
7.1: 3  7.2: 4  7.3: 2  7.4: 5  7.5: 3  7.6: 2
9.1: 3  9.2: 4
10.4: 16
"""
"""Sections of OWASP ASVS 5.0.0 with their number of items."""

ITEMS = [
    *(
        f"{section}.{n}"
        for section, count in re.findall(r"(\d+\.\d+): (\d+)", SECTIONS)
        for n in range(1, int(count) + 1)
    ),
    *(f"API{n}:2023" for n in range(1, 11)),
]

TEXT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if re.match(r"\| (\d+\.\d+\.\d+|API\d+:2023) \|", line)
]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_REASON = re.compile(r"(Does not apply|Not met|The operator's): \S.{5,}")


def test_items_and_rows_are_equal() -> None:
    """Each item has one row, in the order of the standard."""
    assert [row[0] for row in ROWS] == ITEMS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_row_names_tests_or_a_reason(row: list[str]) -> None:
    """The last column has tests or a reason. A row with tests describes the protection."""
    _, requirement, protection, last = row
    tests = _TEST.findall(last)
    assert requirement
    if tests:
        assert last == ", ".join(f"`{path}::{name}`" for path, name in tests)
        assert protection
    else:
        assert _REASON.fullmatch(last)


def functions(path: str) -> set[str]:
    """Return the functions that a file defines at its top level."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_named_tests_exist() -> None:
    """The file and the function of each named test exist."""
    named = _TEST.findall(TEXT)
    assert named
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in functions(path)
    ]
    assert missing == []


def test_named_rules_exist() -> None:
    """Each named rule is in docs/spec.md. A name without a number stands for a section."""
    rules = specified_rules()
    sections = {rule.rpartition("-")[0] for rule in rules}
    assert set(re.findall(r"R-[A-Z]+(?:-\d+)?", TEXT)) <= rules | sections


@pytest.mark.parametrize("service", ["auth", "collab", "state"])
def test_table_of_compromised_services_names_every_permitted_operation(service: str) -> None:
    """The row of a service names each operation of another service that its NATS user may call. Proves R-BUS-11."""
    row = re.search(rf"^\| {service} \|(.*?)\|", TEXT, re.MULTILINE)
    assert row is not None
    permitted = {
        operation.subject
        for operation in OPERATIONS
        if service in operation.callers and operation.service != service
    }
    assert permitted
    assert permitted - set(re.findall(r"`(svgx\.[^`]+)`", row[1])) == set()


def test_public_operations_are_the_listed_ways_to_authenticate() -> None:
    """The section “Ways to authenticate” lists exactly the operations that need no token. Proves R-ACCESS-13."""
    section = TEXT.partition("## Ways to authenticate")[2].partition("\n## ")[0]
    open_to_all = {
        f"{operation.http.method} {operation.http.path}"
        for operation in OPERATIONS
        if operation.http is not None and operation.scope is Scope.PUBLIC
    }
    assert set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", section)) == open_to_all


def test_no_operation_has_hints_or_secret_questions() -> None:
    """No operation takes or returns a hint, or a question and its answer. Proves R-AUTH-36."""
    fields = {
        name
        for operation in OPERATIONS
        for model in (operation.request, operation.reply)
        for name in getattr(model, "model_fields", {})
    }
    assert "password" in fields
    assert [name for name in fields if re.search("hint|question|answer|birth|maiden", name)] == []
