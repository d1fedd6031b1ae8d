"""Start the state service, `python -m svgx_state`, or one of its commands.

`migrate` applies the missing migrations and ends. `doctor` checks the settings and the servers that the service needs.
`quarantine` lists corrupt rows. `backup`, `verify`, `restore` and `backups` make, check, restore and list backups at `BACKUP_URL`.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

import functools

from svgx_common.database.commands import migrate_command
from svgx_common.doctor.command import doctor_command
from svgx_common.doctor.postgres import database_checks
from svgx_common.runtime import run
from svgx_state.app import build
from svgx_state.commands import backups
from svgx_state.journal.command import quarantine_command
from svgx_state.settings import StateSettings


def main() -> None:
    """Run one replica or a command."""
    checks = functools.partial(database_checks, schema="state", package="svgx_state")
    run(
        "state",
        StateSettings,
        build,
        commands={
            "backup": backups.backup,
            "backups": backups.list_backups,
            "doctor": doctor_command("state", StateSettings, checks),
            "migrate": migrate_command("state", StateSettings, "svgx_state"),
            "quarantine": quarantine_command,
            "restore": backups.restore,
            "verify": backups.verify,
        },
    )


if __name__ == "__main__":
    main()
