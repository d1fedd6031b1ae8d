"""The name of a module states its subject."""

from tests.unit.house_rules.sources import ROOT, python_files

_WITHOUT_SUBJECT = {"common", "helper", "helpers", "misc", "util", "utils"}


def test_module_names_state_a_subject() -> None:
    """A module such as `utils.py` has no subject, so it attracts unrelated code."""
    found = [
        str(path.relative_to(ROOT)) for path in python_files() if path.stem in _WITHOUT_SUBJECT
    ]
    assert found == []
