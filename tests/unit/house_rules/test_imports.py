"""Import rules with lists of allowed names, because import-linter has lists of forbidden names only."""

import sys

from tests.unit.house_rules.sources import ROOT, imported_names, python_files


def test_contract_imports_pydantic_only() -> None:
    """The contract imports no other library, because every service and the API documents are built from it.

    Of our libraries, it imports only the decorator `record`.
    """
    allowed = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "annotated_types"}
    forbidden = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in python_files("libs/common/src/svgx_common/contract")
        for name in imported_names(path)
        if name.partition(".")[0] not in allowed
        and not f"{name}.".startswith("svgx_common.contract.")
        and name != "svgx_yjs.record"
    ]
    assert forbidden == []


def test_client_imports_the_contract_only() -> None:
    """Of this repository, the client imports only the contract. Of other libraries, it imports pydantic and httpx2.

    import-linter cannot state this rule, because the contract is a part of `svgx_common`.
    """
    allowed = {*sys.stdlib_module_names, "httpx2", "pydantic", "svgx_client"}
    files = list(python_files("libs/client/src"))
    forbidden = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported_names(path)
        if name.partition(".")[0] not in allowed
        and not f"{name}.".startswith("svgx_common.contract.")
    ]
    assert files
    assert forbidden == []
