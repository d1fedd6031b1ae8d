"""The command `migrate` of the services that own tables."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from svgx_common import logs
from svgx_common.configuration.command_line import Command
from svgx_common.database import migrations
from svgx_common.database.hosts import Hosts
from svgx_common.settings import WRONG_SETTING, Settings, WrongSetting, load

WAIT_SECONDS = 60.0
"""Time limit for PostgreSQL to become usable, in seconds. Migrations, also of other replicas, have no time limit."""


def migrate_command(service: str, kind: type[Settings], package: str) -> Command:
    """Return the command `migrate` of a service. The schema has the name of the service."""

    def run(arguments: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(
            f"svgx-{service} migrate",
            description="Apply the missing migrations and end. The service does the same at its start.",
        )
        parser.add_argument(
            "--wait",
            type=float,
            default=WAIT_SECONDS,
            help="seconds to wait for PostgreSQL; migrations have no limit",
        )
        options = parser.parse_args(arguments)
        settings = load(kind)
        logs.configure(service, "migrate", settings.log_level, settings.log_format)
        url: str = getattr(settings, "postgres_url")  # noqa: B009  # both services with tables have it
        try:
            applied = asyncio.run(
                migrations.apply_when_usable(
                    Hosts(url), service, package, wait_seconds=options.wait
                )
            )
        except WrongSetting as error:
            print(f"svgx: {error}", file=sys.stderr)
            sys.exit(WRONG_SETTING)
        except TimeoutError:
            sys.exit(
                f"svgx: PostgreSQL was not ready within {options.wait:.0f} s; run `svgx-{service} doctor`"
            )
        for name in applied:
            print(f"applied {name}")
        newest = migrations.migrations_of(package)[-1].name
        print(f"{service}: {len(applied)} migrations applied; the schema is at {newest}")

    return run
