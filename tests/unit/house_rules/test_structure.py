"""A folder of source code has at most 15 modules."""

from collections import Counter

from tests.unit.house_rules.sources import ROOT, python_files

_MAX_MODULES = 15


def test_no_source_folder_has_more_than_15_modules() -> None:
    """A larger folder holds several subjects, and each of them needs a folder of its own."""
    modules = Counter(path.parent for path in python_files("libs", "services"))
    found = {
        str(folder.relative_to(ROOT)): count
        for folder, count in modules.items()
        if "src" in folder.parts and count > _MAX_MODULES
    }
    assert modules
    assert found == {}
