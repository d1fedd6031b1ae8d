"""Processes that outlived a killed supervisor are killed before the next start. No other process is killed."""

import json
import subprocess
import sys
from pathlib import Path

import psutil

from svgx_devstack import orphans

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_recorded_process_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER) as process:
        orphans.record(tmp_path / "state", process.pid)
        assert orphans.kill_recorded(tmp_path) == ["state"]
        assert not psutil.pid_exists(process.pid)
    assert list(tmp_path.iterdir()) == []


def test_process_with_another_start_time_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER) as process:
        (tmp_path / "state").write_text(json.dumps([process.pid, 12345.0]))
        assert orphans.kill_recorded(tmp_path) == []
        assert psutil.pid_exists(process.pid)
        process.kill()


def test_ended_process_and_unreadable_record_are_skipped(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER) as process:
        orphans.record(tmp_path / "state", process.pid)
        process.kill()
    (tmp_path / "auth").write_text("[")
    assert orphans.kill_recorded(tmp_path) == []
