"""Kill the state service and PostgreSQL with SIGKILL at random points of backups and restores.

`make chaos` runs this test, which prints its seed. SVGX_CHAOS_SEED repeats a run.
"""

import asyncio
import os
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsDriver
from tests.limits import HIGH_LIMITS
from tests.polling import pause

ROUNDS = int(os.environ.get("SVGX_CHAOS_ROUNDS", "0"))
SEED = int(os.environ.get("SVGX_CHAOS_SEED", "0")) or secrets.randbelow(10**6)
CANVASES = 60

pytestmark = [
    pytest.mark.skipif(not ROUNDS, reason="`make chaos` sets SVGX_CHAOS_ROUNDS"),
    pytest.mark.timeout(3600),
]


@dataclass(slots=True)
class BackedUpSystem:
    """A system with canvases, and the folder of its backups.

    `contents` has the elements of each canvas as JSON, from before the backups.
    """

    workspace: Workspace
    target: Path
    random: random.Random
    contents: dict[str, bytes]

    async def request_until_answered(self, method: str, path: str, **options: Any) -> Any:
        """Send a request as the admin, and repeat it until the response's status is below 500. Return the JSON."""
        while True:
            try:
                response = await self.workspace.admin.request(method, path, **options)
            except httpx.TransportError:
                await pause()
                continue
            if response.status_code < 500:
                assert response.is_success, response.text
                return response.json()
            await pause()

    async def kill(self, name: str, within: float) -> float:
        """Kill a process after a random delay of at most `within` seconds, and start it again. Return the delay."""
        seconds = self.random.uniform(0, within)
        await asyncio.sleep(seconds)
        process = self.workspace.stack.process(name)
        process.restart = False
        process.kill()
        await process.wait_dead()
        process.restart = True
        await process.start()
        await process.wait_ready()
        return seconds

    async def wait_until_ended(self, path: str) -> Any:
        """Wait until a backup or a restore has ended, and return its record."""
        while (record := await self.request_until_answered("GET", path))["status"] == "running":
            await pause()
        return record

    async def export_all(self) -> dict[str, bytes]:
        """Return the elements of each canvas as JSON.

        The Yjs state is not compared: a restore of an existing canvas is an edit that brings back only the elements.
        """
        found = {}
        for each in self.contents:
            response = await self.workspace.admin.request(
                "GET", f"/runtime/canvases/{each}/export?format=json"
            )
            assert response.is_success, response.text
            found[each] = response.content
        return found

    async def verify(self, backup_id: str) -> Any:
        """Verify a backup, and return the record of this verification."""
        await self.request_until_answered("POST", f"/state/backups/{backup_id}/verify")
        while True:
            record = await self.request_until_answered("GET", f"/state/backups/{backup_id}")
            if record["verification"]["status"] != "running":
                return record["verification"]
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _backed_up_system(folder: Path, driver: YjsDriver) -> AsyncIterator[BackedUpSystem]:
    target = folder / "target"
    settings = {**HIGH_LIMITS, "BACKUP_URL": f"file://{target}"}
    async with (
        DevStack(folder / "stack", settings=settings) as stack,
        open_workspace(stack, driver) as workspace,
    ):
        system = BackedUpSystem(workspace, target, random.Random(SEED), {})
        print(f"\nseed {SEED}")
        for number in range(CANVASES):
            canvas_id = await workspace.create_canvas(f"Drawing {number}")
            noise = " ".join(str(system.random.randrange(10**6)) for _ in range(20_000))
            svg = f'<svg xmlns="http://www.w3.org/2000/svg"><path d="M {noise}"/></svg>'
            await workspace.owner.import_svg(canvas_id, svg.encode())
            system.contents[canvas_id] = b""
        system.contents = await system.export_all()
        yield system


async def _damage_canvases(system: BackedUpSystem, ids: list[str]) -> None:
    """Delete the rows of 20 canvases from the tables. Delete 5 canvases through the API, and empty 5 more."""
    system.random.shuffle(ids)
    removed, deleted, edited = ids[:20], ids[20:25], ids[25:30]
    for each in deleted:
        response = await system.workspace.admin.request("DELETE", f"/runtime/canvases/{each}")
        assert response.is_success, response.text
    for each in edited:
        await system.workspace.owner.import_svg(each, b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    connection = await asyncpg.connect(system.workspace.stack.postgres_url)
    try:
        await connection.execute("SET search_path TO state")
        for table, column in (
            ("journal", "canvas_id"),
            ("snapshot", "canvas_id"),
            ("canvas_member", "canvas_id"),
            ("canvas", "id"),
        ):
            await connection.execute(f"DELETE FROM {table} WHERE {column} = ANY ($1)", removed)
    finally:
        await connection.close()


async def test_killed_backups_and_restores_are_completed(tmp_path: Path, driver: YjsDriver) -> None:
    """A killed backup is completed, and is never reported as complete without a manifest.

    After a completed restore, all canvases are as in the backup, even if a process was killed during the restore.

    Proves R-BACKUP-4, R-BACKUP-5 and R-BACKUP-7.
    """
    async with _backed_up_system(tmp_path, driver) as system:
        for number in range(ROUNDS):
            victim = ("postgres", "state")[number % 2]
            body = {"state_type": "all", "backup_type": ("full", "incremental")[number % 3 == 1]}
            backup = await system.request_until_answered("POST", "/state/backup/", json=body)
            seconds = await system.kill(victim, 1.0)
            record = await system.request_until_answered("GET", f"/state/backups/{backup['id']}")
            manifest = system.target / backup["id"] / "manifest.json"
            if record["status"] == "complete":
                assert manifest.exists()
            record = await system.wait_until_ended(f"/state/backups/{backup['id']}")
            verification = await system.verify(backup["id"])
            print(
                f"backup {number}: {victim} killed after {seconds:.2f} s; {record['status']}, "
                f"{record['canvases']} canvases, {record['objects']} objects, {verification['status']}"
            )
            assert (record["status"], record["canvases"]) == ("complete", CANVASES), record
            assert verification["status"] == "passed", verification

            await _damage_canvases(system, list(system.contents))
            restore = await system.request_until_answered("POST", f"/state/restore/{backup['id']}")
            seconds = await system.kill(victim, 3.0)
            record = await system.wait_until_ended(f"/state/restores/{restore['id']}")
            print(
                f"restore {number}: {victim} killed after {seconds:.2f} s; {record['status']}, "
                f"{record['canvases']} canvases, {record['failed']} failed"
            )
            if record["status"] == "partial":
                restore = await system.request_until_answered(
                    "POST", f"/state/restore/{backup['id']}"
                )
                record = await system.wait_until_ended(f"/state/restores/{restore['id']}")
            assert (record["status"], record["canvases"]) == ("complete", CANVASES), record
            assert await system.export_all() == system.contents
