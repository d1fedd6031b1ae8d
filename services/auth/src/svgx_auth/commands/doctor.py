"""The checks of the command `doctor` that only this service has."""

from collections.abc import Mapping
from typing import Any

from svgx_common.database.hosts import Hosts
from svgx_common.doctor.command import Check
from svgx_common.doctor.findings import Finding, ok, warning
from svgx_common.doctor.postgres import database_checks
from svgx_common.postgres import load_queries


def checks(values: Mapping[str, Any]) -> dict[str, Check | None]:
    """Return the checks of the database and of the accounts, from the values of the settings."""
    checks_by_name = database_checks(values, schema="auth", package="svgx_auth")
    if "postgres_url" in values:
        checks_by_name["admin"] = lambda: _check_admin(values["postgres_url"])
    return checks_by_name


async def _check_admin(url: str) -> list[Finding]:
    """Check that there is an active admin.

    Without a connection or the table `account`, return no finding, because the checks of the database report these
    faults.
    """
    try:
        connection = await Hosts(url).connect(
            timeout=5.0, command_timeout=5.0, server_settings={"search_path": "auth"}
        )
    except Exception:  # noqa: BLE001  # the checks of the database report the error
        return []
    try:
        if await connection.fetchval("SELECT to_regclass('account')") is None:
            return []
        query = load_queries("svgx_auth")["active_admin"]
        if await connection.fetchrow(query.sql) is not None:
            return [ok("admin", "there is an active admin")]
    finally:
        connection.terminate()
    fix = (
        "Run `svgx-auth create-admin`. If no disabled admin exists either, you can also set SVGX_ADMIN_* and start the "
        "service again."
    )
    return [warning("admin", "there is no active admin", fix)]
