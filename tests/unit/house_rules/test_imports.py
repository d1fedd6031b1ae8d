"""Import rules that import-linter cannot express: it forbids names, these allow names."""

import sys

from tests.unit.house_rules.sources import ROOT, imported, python_files


def test_the_contract_needs_pydantic_only() -> None:
    """SDK, gateway and documents are made from the contract: it must be importable anywhere."""
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "annotated_types"}
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files("libs/common/src/svgx_common/contract")
        for name in imported(path)
        if name.partition(".")[0] not in allowed
        and not f"{name}.".startswith("svgx_common.contract.")
    ]
    assert found == []
