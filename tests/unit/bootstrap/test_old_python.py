"""With an old Python, `bootstrap.py` prints one line with the remedy instead of a syntax error."""

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


def test_bootstrap_parses_on_old_pythons() -> None:
    tree = ast.parse(BOOTSTRAP.read_text(encoding="ascii"), feature_version=(3, 6))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.JoinedStr | ast.NamedExpr | ast.Match | ast.AnnAssign)
        assert not isinstance(node, ast.Name) or node.id != "print"
        if isinstance(node, ast.FunctionDef):
            assert not node.args.kwonlyargs
            assert not node.args.posonlyargs


def test_old_python_prints_the_remedy_in_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _AS_PYTHON_3_6.format(path=str(BOOTSTRAP))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "svgx: Python 3.11 or newer is needed, this is 3.6: "
        "install one, then `make run PYTHON=python3.11`\n"
    )


def test_unknown_action_lists_the_known_actions() -> None:
    result = subprocess.run(
        [sys.executable, str(BOOTSTRAP), "dance"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("svgx: use one of: bootstrap.py run | install")
