"""The command `calibrate`: print the strongest Argon2id parameters within a time and a memory limit, as settings."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from argon2 import PasswordHasher

from svgx_auth.settings import MIN_MEMORY_KIB, MIN_PASSES

REPEATS = 3
"""Number of hashes in one measurement."""

Measure = Callable[[int, int, int], float]
"""A function of memory in KiB, passes and lanes that returns the seconds for one hash."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Argon2id parameters, and the seconds that one hash takes with them."""

    memory_kib: int
    passes: int
    lanes: int
    seconds: float


def measure(memory_kib: int, passes: int, lanes: int) -> float:
    """Return the seconds for one hash: the shortest of `REPEATS` times, because other work may delay a hash."""
    hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        hasher.hash("a password to measure with")
        times.append(time.perf_counter() - started)
    return min(times)


def calibrate(
    target: float, max_memory_kib: int, lanes: int, measure: Measure = measure
) -> Calibration:
    """Return the strongest parameters within `target` seconds and `max_memory_kib`, but at least OWASP's minimum.

    Memory is doubled as often as possible. Then passes are added. Memory comes first, because memory costs an attacker
    with graphics cards the most (RFC 9106, section 4).
    """
    memory, passes = MIN_MEMORY_KIB, MIN_PASSES
    seconds = measure(memory, passes, lanes)
    while memory * 2 <= max_memory_kib:
        seconds_with_double = measure(memory * 2, passes, lanes)
        if seconds_with_double > target:
            break
        memory, seconds = memory * 2, seconds_with_double
    while (seconds_with_pass := measure(memory, passes + 1, lanes)) <= target:
        passes, seconds = passes + 1, seconds_with_pass
    return Calibration(memory, passes, lanes, seconds)


def main(arguments: Sequence[str]) -> None:
    """Measure this machine, and print the settings as lines for the environment."""
    parser = argparse.ArgumentParser("svgx_auth calibrate", description=__doc__)
    parser.add_argument(
        "--milliseconds", type=float, default=250.0, help="maximum time for one hash"
    )
    parser.add_argument("--memory-mib", type=int, default=256, help="maximum memory for one hash")
    parser.add_argument("--lanes", type=int, default=1, choices=range(1, 17), metavar="1-16")
    options = parser.parse_args(arguments)
    best = calibrate(options.milliseconds / 1000, options.memory_mib * 1024, options.lanes)
    print(f"# one hash takes {best.seconds * 1000:.0f} ms on this machine")
    if best.seconds * 1000 > options.milliseconds:
        print("# this is OWASP's minimum; the service refuses cheaper parameters")
    print(f"ARGON2_MEMORY_KIB={best.memory_kib}")
    print(f"ARGON2_PASSES={best.passes}")
    print(f"ARGON2_LANES={best.lanes}")
    print("# each of the PASSWORD_WORKERS workers uses ARGON2_MEMORY_KIB while it hashes")
