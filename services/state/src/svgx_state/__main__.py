"""Start the state service: `python -m svgx_state`."""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_common.runtime import run
from svgx_state.app import build
from svgx_state.settings import StateSettings


def main() -> None:
    """Run one replica."""
    run("state", StateSettings, build)


if __name__ == "__main__":
    main()
