"""Run promtool, which tests the rules and queries of Prometheus without a server."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.debian import program


def write_tests(rules: dict[str, Any], tests: list[dict[str, Any]], folder: Path) -> Path:
    """Write a file for promtool, and return its path. All tests must have the same interval."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": tests[0]["interval"],
        "tests": tests,
    }
    file = folder / "tests.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def run_promtool(*arguments: str | Path) -> None:
    """Run promtool, which must succeed."""
    command = [program("promtool", "prometheus"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
