"""A module is named after the one thing it is about."""

from tests.unit.house_rules.sources import ROOT, python_files

_NAMELESS = {"common", "helper", "helpers", "misc", "util", "utils"}


def test_no_module_without_a_subject() -> None:
    """`utils.py` says nothing, so everything ends up in it."""
    found = [str(path.relative_to(ROOT)) for path in python_files() if path.stem in _NAMELESS]
    assert found == []
