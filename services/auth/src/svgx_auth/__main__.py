"""Run the auth service, or one of its commands.

`python -m svgx_auth` runs the service. Its commands:

- `create-admin` creates an admin, and `reset-password` replaces a lost password, both in the database.
- `rotate-keys` adds a signing key.
- `calibrate` prints the strongest Argon2id parameters within a time and a memory limit, measured on this machine.
- `migrate` applies the missing migrations and ends.
- `doctor` checks the settings and the servers that the service needs.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_auth import calibrate, rotate_keys
from svgx_auth.app import build
from svgx_auth.commands import create_admin, doctor, reset_password
from svgx_auth.settings import AuthSettings
from svgx_common.database.commands import migrate_command
from svgx_common.doctor.command import doctor_command
from svgx_common.runtime import run


def main() -> None:
    """Run one replica of the service, or the command that the arguments name."""
    run(
        "auth",
        AuthSettings,
        build,
        commands={
            "calibrate": calibrate.main,
            "create-admin": create_admin.main,
            "doctor": doctor_command("auth", AuthSettings, doctor.checks),
            "migrate": migrate_command("auth", AuthSettings, "svgx_auth"),
            "reset-password": reset_password.main,
            "rotate-keys": rotate_keys.main,
        },
    )


if __name__ == "__main__":
    main()
