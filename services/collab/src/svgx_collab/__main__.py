"""Start the collab service: `python -m svgx_collab`."""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_collab.app import build
from svgx_collab.settings import CollabSettings
from svgx_common.runtime import run


def main() -> None:
    """Run one replica."""
    run("collab", CollabSettings, build)


if __name__ == "__main__":
    main()
