"""Start the state service or one of its commands: `python -m svgx_state [COMMAND]`.

`migrate` applies the missing migrations and ends. `doctor` checks the settings and the servers that the service needs.
`quarantine` lists corrupt rows. `backup` makes a backup at `BACKUP_URL`, `verify` checks one, `restore` restores one,
and `backups` lists them.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

import functools
from collections.abc import Mapping
from typing import Any

from svgx_common.database.commands import migrate_command
from svgx_common.doctor.command import Check, doctor_command
from svgx_common.doctor.postgres import database_checks
from svgx_common.doctor.redis import check_redis
from svgx_common.runtime import run
from svgx_state.app import build
from svgx_state.commands import backups
from svgx_state.commands.backup_key import check_backup_key
from svgx_state.commands.backup_target import check_backup_target
from svgx_state.journal.command import quarantine_command
from svgx_state.settings import StateSettings
from svgx_state.values.types import Backend


def main() -> None:
    """Run one replica or a command."""
    run(
        "state",
        StateSettings,
        build,
        commands={
            "backup": backups.backup,
            "backups": backups.list_backups,
            "doctor": doctor_command("state", StateSettings, _checks),
            "migrate": migrate_command("state", StateSettings, "svgx_state"),
            "quarantine": quarantine_command,
            "restore": backups.restore,
            "verify": backups.verify,
        },
    )


def _checks(values: Mapping[str, Any]) -> Mapping[str, Check | None]:
    """Return the checks of PostgreSQL, of Redis if a state type uses it, and of the backups if `BACKUP_URL` is set.

    None in place of a check means that a wrong setting makes the check impossible.
    """
    checks = dict(database_checks(values, schema="state", package="svgx_state"))
    types = values.get("state_types", {})
    if any(each.backend is Backend.REDIS for each in types.values()):
        checks["redis"] = None
        if "redis_url" in values:
            checks["redis"] = lambda: check_redis(values["redis_url"])
    if values.get("backup_url"):
        checks["backups"] = functools.partial(check_backup_key, values)
        checks["backup target"] = functools.partial(check_backup_target, values["backup_url"])
    return checks


if __name__ == "__main__":
    main()
