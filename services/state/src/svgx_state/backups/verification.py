"""Verification of a backup: objects are read, compared with their checksums and decrypted, and updates are decoded."""

from dataclasses import dataclass

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import Unavailable
from svgx_state.backups.format.chain import Chain
from svgx_state.backups.format.sealing import BackupDamaged
from svgx_workers.errors import WorkerError, WorkerUnavailable
from svgx_workers.pool import Workers


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The numbers of objects, bytes, canvases and users that were read back.

    `unreadable` counts canvases with updates that cannot be decoded.
    """

    objects: int
    bytes: int
    canvases: int
    users: int
    unreadable: int


class BackupChecker:
    """Reads backups back and checks them. Worker processes decode the updates."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def check(self, chain: Chain, *, only: str | None = None) -> CheckResult:
        """Read a backup and the backups on which it builds. Return the numbers of objects and records that were read.

        `only` is the id of a canvas. With `only`, read only the objects that may have this canvas, and no accounts.

        Raises `BackupDamaged` when the content differs from the written content, when the numbers of canvases or users
        differ from the manifest, or when the backup does not have the canvas `only`. Raises `TargetFailed` when the
        target cannot be read, and `Unavailable` when no worker can be started.
        """
        canvases = unreadable = users = 0
        async for canvas in chain.canvases(only=only):
            canvases += 1
            unreadable += not await self._is_readable(canvas.updates)
        if only is not None:
            if not canvases:
                raise BackupDamaged(f"{chain.manifest.backup_id} does not have the canvas {only}")
            return CheckResult(chain.counts.objects, chain.counts.bytes, canvases, 0, unreadable)
        async for accounts in chain.accounts():
            users += len(accounts)
        if (canvases, users) != (chain.manifest.canvases, chain.manifest.users):
            raise BackupDamaged(
                f"{chain.manifest.backup_id} has {canvases} canvases and {users} users instead of "
                f"{chain.manifest.canvases} and {chain.manifest.users}"
            )
        return CheckResult(chain.counts.objects, chain.counts.bytes, canvases, users, unreadable)

    async def _is_readable(self, updates: list[bytes]) -> bool:
        if not updates:
            return True
        try:
            state = await self._workers.state(updates)
        except WorkerUnavailable:
            raise Unavailable("no worker process can be started; try again") from None
        except (SvgRefused, WorkerError):
            return False
        return not any(item.reason == "unreadable" for item in state.left_out)
