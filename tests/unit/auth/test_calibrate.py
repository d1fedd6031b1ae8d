"""The command `calibrate` and its choice of Argon2id parameters."""

import subprocess
import sys

import pytest

from svgx_auth.calibrate import calibrate


def seconds_per_hash(memory_kib: int, passes: int, lanes: int) -> float:
    """Return the seconds for one hash on a machine that needs 10 ms for 19 MiB and one pass."""
    return 0.01 * memory_kib / 19456 * passes / lanes


@pytest.mark.parametrize(
    ("target", "memory", "expected"),
    [
        (0.25, 1024 * 1024, (8 * 19456, 3)),
        (0.25, 64 * 1024, (2 * 19456, 12)),
        (0.04, 1024 * 1024, (2 * 19456, 2)),
        # This machine is too slow for OWASP's minimum. The result is the minimum.
        (0.001, 1024 * 1024, (19456, 2)),
        # The memory limit is below OWASP's minimum. The minimum is used, and only the passes are raised.
        (0.03, 1, (19456, 3)),
    ],
)
def test_calibrate_returns_the_most_expensive_parameters_within_the_limits(
    target: float, memory: int, expected: tuple[int, int]
) -> None:
    """Proves R-AUTH-2: memory is raised first, then passes, within the limits and never below OWASP's minimum."""
    result = calibrate(target, memory, 1, seconds_per_hash)
    assert (result.memory_kib, result.passes) == expected
    assert result.seconds == seconds_per_hash(*expected, 1)


def test_calibrate_command_prints_settings() -> None:
    """Proves R-AUTH-2: the command prints the settings, and needs no settings itself."""
    command = [sys.executable, "-m", "svgx_auth", "calibrate", "--milliseconds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    assert lines == ["ARGON2_MEMORY_KIB=19456", "ARGON2_PASSES=2", "ARGON2_LANES=1"]
    unknown_command = subprocess.run(
        [*command[:3], "serve"], capture_output=True, check=False, env={}
    )
    assert unknown_command.returncode != 0
