"""An old Python gets one line that says what to do, not a syntax error."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BOOTSTRAP = ROOT / "bootstrap.py"

_AS_PYTHON_3_6 = """
import os, runpy, sys
sys.version_info = (3, 6, 9, "final", 0)
os.environ["PATH"] = ""
sys.argv = [{path!r}, "run"]
runpy.run_path({path!r}, run_name="__main__")
"""


def test_it_parses() -> None:
    tree = ast.parse(BOOTSTRAP.read_text(encoding="ascii"), feature_version=(3, 6))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.JoinedStr | ast.NamedExpr | ast.Match | ast.AnnAssign)
        assert not isinstance(node, ast.Name) or node.id != "print"
        if isinstance(node, ast.FunctionDef):
            assert not node.args.kwonlyargs
            assert not node.args.posonlyargs


def test_it_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AS_PYTHON_3_6.format(path=str(BOOTSTRAP))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "svgx: Python 3.11 or newer is needed, this is 3.6: "
        "install one, then `make run PYTHON=python3.11`\n"
    )


def test_an_unknown_action_lists_the_known() -> None:
    done = subprocess.run(
        [sys.executable, str(BOOTSTRAP), "dance"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("svgx: use one of: bootstrap.py run | install")
