"""The check of `BACKUP_URL` by the command `doctor`."""

from svgx_common.doctor.findings import Finding, failed, ok
from svgx_state.backups.format.target import Target

NAME = "BACKUP_URL"


async def check_backup_target(url: str) -> list[Finding]:
    """Return a failure when the storage library refuses the URL or the storage's environment variables.

    No request is sent to the storage. A folder is not opened, because opening would create it.
    """
    if url.startswith("file:"):
        return []
    try:
        Target.open(url)
    except ValueError as error:
        fix = (
            "Correct the URL or the storage's environment variables, so that the service can start."
        )
        return [failed(NAME, str(error), fix)]
    return [ok(NAME, "has a valid form, and so have the variables of its storage")]
