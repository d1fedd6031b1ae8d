"""A site for tests of backups: a database, a folder, a client, and the replicas that use them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from svgx_common.contract.storage.backups import Backup
from svgx_common.health import Health
from svgx_devstack import DevStack
from svgx_state.backups.adoption import Adoption
from svgx_state.backups.creation import BackupWriter
from svgx_state.backups.tasks import Task
from tests.integration.state.service import replica
from tests.integration.state.vault import Vault

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Site:
    """A database, a folder for backups, and a client of the replicas that use them."""

    backing: DevStack
    url: str
    vault: Vault

    def replica(self, **settings: float | str) -> AbstractAsyncContextManager[Health]:
        """Run a replica until the block ends. Its backups are encrypted with `KEY` unless the settings differ."""
        chosen: dict[str, float | str] = {
            "postgres_url": self.url,
            "backup_url": f"file://{self.vault.folder}",
            "backup_key": KEY,
            "worker_count": 1,
            **settings,
        }
        return replica(self.backing, **chosen)


async def adopt_nothing(_: Adoption) -> int:
    """Adopt no backup, in place of `Adoption.adopt_all`."""
    return 0


@asynccontextmanager
async def paused_backup(site: Site, objects: int, **request: str) -> AsyncIterator[Backup]:
    """Begin a backup of the client's canvases. Pause it after it has stored some objects, until the block ends."""
    reached, released = asyncio.Event(), asyncio.Event()
    note = BackupWriter._note

    async def note_and_wait(writer: BackupWriter, task: Task, written: Any, entries: Any) -> None:
        await note(writer, task, written, entries)
        if len(written.entries) >= objects:
            reached.set()
            await released.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BackupWriter, "_note", note_and_wait)
        backup = await site.vault.begin(owner_id=site.vault.client.me.user_id, **request)
        try:
            async with asyncio.timeout(20):
                await reached.wait()
            assert (await site.vault.get(backup.id)).status == "running"
            yield backup
        finally:
            released.set()
