"""docs/spec.md and the tests name the same rules."""

import re

from tests.unit.house_rules.sources import ROOT, python_files

_SECTION = re.compile(r"^## (R-[A-Z]+)", re.MULTILINE)
_NUMBER = re.compile(r"^(\d+)\. ", re.MULTILINE)
_NAMED = re.compile(r"\bR-[A-Z]+-\d+\b")


def specified() -> set[str]:
    """The rules of the specification."""
    _, *parts = _SECTION.split((ROOT / "docs/spec.md").read_text())
    sections = zip(parts[::2], parts[1::2], strict=True)
    return {f"{name}-{number}" for name, text in sections for number in _NUMBER.findall(text)}


def proven() -> set[str]:
    """The rules that tests say they prove."""
    return {rule for path in python_files("tests") for rule in _NAMED.findall(path.read_text())}


def test_every_rule_has_a_test() -> None:
    """A rule that nothing proves is a wish."""
    assert specified() - proven() == set()


def test_every_rule_a_test_names_is_written_down() -> None:
    """A test of a rule that nobody can read proves nothing."""
    assert proven() - specified() == set()
