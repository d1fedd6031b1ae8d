"""Run the auth service, or one of its commands.

`python -m svgx_auth` runs the service. `python -m svgx_auth calibrate` prints the most expensive Argon2id parameters
that this machine can afford. `python -m svgx_auth rotate-keys` adds a signing key.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_auth import calibrate, rotate_keys
from svgx_auth.app import build
from svgx_auth.settings import AuthSettings
from svgx_common.runtime import run


def main() -> None:
    """Run one replica or a command."""
    run(
        "auth",
        AuthSettings,
        build,
        commands={"calibrate": calibrate.main, "rotate-keys": rotate_keys.main},
    )


if __name__ == "__main__":
    main()
