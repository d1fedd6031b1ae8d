"""Start the collab service, or its command.

`python -m svgx_collab` runs the service. The command `doctor` checks the settings and the servers that the
service needs.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_collab.app import build
from svgx_collab.settings import CollabSettings
from svgx_common.doctor.command import doctor_command
from svgx_common.runtime import run


def main() -> None:
    """Run one replica of the service, or the command that the arguments name."""
    commands = {"doctor": doctor_command("collab", CollabSettings)}
    run("collab", CollabSettings, build, commands=commands)


if __name__ == "__main__":
    main()
