"""docs/spec.md and the tests name the same rules."""

import re

from tests.unit.house_rules.sources import ROOT, python_files

_SECTION = re.compile(r"^## (R-[A-Z]+)", re.MULTILINE)
_NUMBER = re.compile(r"^(\d+)\. ", re.MULTILINE)
_NAMED = re.compile(r"\bR-[A-Z]+-\d+\b")


def specified_rules() -> set[str]:
    """Return the rules of the specification."""
    _, *parts = _SECTION.split((ROOT / "docs/spec.md").read_text())
    sections = zip(parts[::2], parts[1::2], strict=True)
    return {f"{name}-{number}" for name, text in sections for number in _NUMBER.findall(text)}


def rules_named_by_tests() -> set[str]:
    """Return the rules that tests name."""
    return {rule for path in python_files("tests") for rule in _NAMED.findall(path.read_text())}


def test_rules_have_tests() -> None:
    """Each rule of the specification is named by a test."""
    assert specified_rules() - rules_named_by_tests() == set()


def test_tests_name_existing_rules() -> None:
    """Each rule that a test names is in the specification."""
    assert rules_named_by_tests() - specified_rules() == set()
