"""Compile test files with pytest's rewritten assertions, each file in only one process.

In a new clone, all processes of `make test` import all test files at the same time. Without this module each process
compiles each of them, which takes 10 s of processor time in each process.
"""

import pytest
from _pytest.assertion import rewrite


def compile_share(config: pytest.Config, number: int, count: int) -> None:
    """Compile share `number` of `count` shares of the test files, except files that are compiled already."""
    state = config.stash[rewrite.assertstate_key]
    for file in sorted((config.rootpath / "tests").rglob("test_*.py"))[number::count]:
        folder = rewrite.get_cache_dir(file)
        compiled = folder / (file.stem + rewrite.PYC_TAIL)
        if "node_modules" not in file.parts and rewrite._read_pyc(file, compiled) is None:
            folder.mkdir(exist_ok=True)
            status, code = rewrite._rewrite_test(file, config)
            rewrite._write_pyc(state, code, status, compiled)
