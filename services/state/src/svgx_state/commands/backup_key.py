"""The check of `BACKUP_KEY` by the command `doctor`."""

from collections.abc import Mapping
from typing import Any

from svgx_common.doctor.findings import Finding, ok, warning
from svgx_common.settings import PRODUCTION

NAME = "BACKUP_KEY"


async def check_backup_key(values: Mapping[str, Any]) -> list[Finding]:
    """Return a warning when production stores backups without encryption. `values` has the settings by name."""
    key = values.get("backup_key")
    if key is None:
        return []  # the check of the settings has already reported an invalid key
    if key.get_secret_value():
        return [ok(NAME, "encrypts the backups")]
    if str(values.get("environment")).strip().lower() != PRODUCTION:
        return [ok(NAME, "is not set: backups are not encrypted")]
    fix = "Set it to 32 random bytes (`openssl rand -base64 32`), and keep a copy elsewhere."
    return [
        warning(
            NAME, "is not set: readers of the backups get all canvases and password hashes", fix
        )
    ]
