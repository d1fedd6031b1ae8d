"""`calibrate` finds what a machine can afford."""

import subprocess
import sys

import pytest

from svgx_auth.calibrate import calibrate


def machine(memory_kib: int, passes: int, lanes: int) -> float:
    """Takes 10 ms for 19 MiB and a pass."""
    return 0.01 * memory_kib / 19456 * passes / lanes


@pytest.mark.parametrize(
    ("target", "memory", "found"),
    [
        (0.25, 1024 * 1024, (8 * 19456, 3)),
        (0.25, 64 * 1024, (2 * 19456, 12)),
        (0.04, 1024 * 1024, (2 * 19456, 2)),
        # Too slow for the floor: the floor it is.
        (0.001, 1024 * 1024, (19456, 2)),
        (0.03, 1, (19456, 3)),
    ],
)
def test_as_much_as_fits(target: float, memory: int, found: tuple[int, int]) -> None:
    """Proves R-AUTH-2: within the time and the memory, memory first, never below the floor."""
    result = calibrate(target, memory, 1, machine)
    assert (result.memory_kib, result.passes) == found
    assert result.seconds == machine(*found, 1)


def test_the_command_prints_settings() -> None:
    """Proves R-AUTH-2: it needs none itself."""
    command = [sys.executable, "-m", "svgx_auth", "calibrate", "--milliseconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert lines == ["ARGON2_MEMORY_KIB=19456", "ARGON2_PASSES=2", "ARGON2_LANES=1"]
    wrong = subprocess.run([*command[:3], "serve"], capture_output=True, check=False, env={})
    assert wrong.returncode != 0
