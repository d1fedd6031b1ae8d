"""What a killed supervisor left running is ended before the next start, and nothing else is."""

import json
import subprocess
import sys
from pathlib import Path

import psutil

from svgx_devstack import leftovers

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_it_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER) as process:
        leftovers.remember(tmp_path / "state", process.pid)
        assert leftovers.end(tmp_path) == ["state"]
        assert not psutil.pid_exists(process.pid)
    assert list(tmp_path.iterdir()) == []


def test_the_id_was_given_to_somebody_else_since(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER) as process:
        (tmp_path / "state").write_text(json.dumps([process.pid, 12345.0]))
        assert leftovers.end(tmp_path) == []
        assert psutil.pid_exists(process.pid)
        process.kill()


def test_it_is_gone_already_or_unreadable(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER) as process:
        leftovers.remember(tmp_path / "state", process.pid)
        process.kill()
    (tmp_path / "auth").write_text("[")
    assert leftovers.end(tmp_path) == []
