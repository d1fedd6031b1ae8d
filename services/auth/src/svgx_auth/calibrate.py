"""`python -m svgx_auth calibrate`: which Argon2id parameters this machine can afford, as settings."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from argon2 import PasswordHasher

from svgx_auth.settings import MIN_MEMORY_KIB, MIN_PASSES

REPEATS = 3

Measure = Callable[[int, int, int], float]
"""Seconds one hash takes with so many KiB, passes and lanes."""


@dataclass(frozen=True, slots=True)
class Found:
    """Parameters, and the seconds one hash takes with them."""

    memory_kib: int
    passes: int
    lanes: int
    seconds: float


def measure(memory_kib: int, passes: int, lanes: int) -> float:
    """The best of some, so that other work on the machine counts little."""
    hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        hasher.hash("a password to measure with")
        times.append(time.perf_counter() - started)
    return min(times)


def calibrate(target: float, max_memory_kib: int, lanes: int, measure: Measure = measure) -> Found:
    """The costliest parameters of at most `target` seconds and `max_memory_kib`; never below OWASP's floor.

    Memory comes first, as it is what hurts an attacker with graphics cards most (RFC 9106, 4).
    """
    memory, passes = MIN_MEMORY_KIB, MIN_PASSES
    seconds = measure(memory, passes, lanes)
    while memory * 2 <= max_memory_kib:
        doubled = measure(memory * 2, passes, lanes)
        if doubled > target:
            break
        memory, seconds = memory * 2, doubled
    while (longer := measure(memory, passes + 1, lanes)) <= target:
        passes, seconds = passes + 1, longer
    return Found(memory, passes, lanes, seconds)


def main(arguments: Sequence[str]) -> None:
    """Measure and print lines for the environment."""
    parser = argparse.ArgumentParser("svgx_auth calibrate", description=__doc__)
    parser.add_argument("--milliseconds", type=float, default=250.0, help="a hash may take")
    parser.add_argument("--memory-mib", type=int, default=256, help="a hash may take")
    parser.add_argument("--lanes", type=int, default=1, choices=range(1, 17), metavar="1-16")
    given = parser.parse_args(arguments)
    found = calibrate(given.milliseconds / 1000, given.memory_mib * 1024, given.lanes)
    print(f"# {found.seconds * 1000:.0f} ms a hash on this machine")
    if found.seconds * 1000 > given.milliseconds:
        print("# this is OWASP's floor: less is refused, however long it takes")
    print(f"ARGON2_MEMORY_KIB={found.memory_kib}")
    print(f"ARGON2_PASSES={found.passes}")
    print(f"ARGON2_LANES={found.lanes}")
    print("# each of PASSWORD_WORKERS takes that memory while it hashes")
