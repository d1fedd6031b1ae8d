"""The benchmark reads processor time and memory of whole process trees."""

import os
import subprocess
import sys

from bench.collab import processes

_SPIN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_cpu_seconds_include_ended_children() -> None:
    before = processes.cpu_seconds({"tests": os.getpid()})["tests"]
    subprocess.run([sys.executable, "-c", _SPIN], check=True)
    assert processes.cpu_seconds({"tests": os.getpid()})["tests"] - before >= 0.28


def test_memory_includes_running_children() -> None:
    command = [sys.executable, "-c", "x = bytearray(64_000_000); print(1, flush=True); input()"]
    before = processes.memory_bytes([os.getpid()])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        grown = processes.memory_bytes([os.getpid()]) - before
        child.communicate(b"\n")
    assert grown > 60_000_000


def test_figures_of_an_ended_process_are_zero() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert processes.cpu_seconds({"ended": child.pid}) == {"ended": 0}
    assert processes.memory_bytes([child.pid]) == 0
