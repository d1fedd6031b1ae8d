"""The size of random tests: small in `make test`, full in `make fuzz`."""

import os
from collections.abc import Sequence
from typing import TypeVar

Seed = TypeVar("Seed")

THOROUGH = os.environ.get("SVGX_THOROUGH") == "1"
"""True in `make fuzz`."""


def selected(seeds: Sequence[Seed]) -> Sequence[Seed]:
    """Return all seeds of a random test in `make fuzz`, and the first one in `make test`."""
    return seeds if THOROUGH else seeds[:1]
