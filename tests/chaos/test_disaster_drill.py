"""The disaster drill: back up, destroy everything, start anew, restore, and compare every canvas and every user.

`make drill` runs these tests, which print the recovery point (RPO) and the recovery time (RTO). They use the commands
of docs/operations.md.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from svgx_canvas import state
from svgx_devstack import DevStack
from svgx_devstack.backing import binaries
from tests.e2e.clients.api import ApiSession, open_api
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsClient, YjsDriver
from tests.limits import HIGH_LIMITS

CANVASES = int(os.environ.get("SVGX_DRILL_CANVASES", "0"))
USERS = 20
LIVE = 4
"""The number of canvases with a client that draws during the full backup."""

RATE = 10.0
"""Edits a second of each drawing client."""

SCRIPTS = Path(__file__).parents[2] / "deploy" / "scripts"

pytestmark = [
    pytest.mark.skipif(not CANVASES, reason="`make drill` sets SVGX_DRILL_CANVASES"),
    pytest.mark.timeout(1200),
]

_USERS = """
SELECT id, username, email, password_hash, role, created_at, disabled_at, deleted_at FROM auth.account
WHERE username <> 'recovery' ORDER BY id
"""


@dataclass(slots=True)
class Before:
    """The system at its last backup: the content of each canvas, the rows of all users, and the owner's login.

    `owner` is the username and the password of the canvases' owner. `backup_began` is the start of the last backup, in
    seconds since 1970.
    """

    canvases: dict[str, bytes] = field(default_factory=dict)
    users: list[tuple[object, ...]] = field(default_factory=list)
    owner: tuple[str, str] = ("", "")
    backup_began: float = 0.0
    recovery_began: float = 0.0
    """The start of the new system, on the monotonic clock."""


async def _run(stack: DevStack, *command: str, **environment: str) -> float:
    """Run a command of the operations guide, and return the seconds that it took."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    print(f"  {' '.join(command[-6:])}\n    {output.decode().strip()[-300:]}")
    assert process.returncode == 0, stack.home
    return time.monotonic() - started


def _state_environment(stack: DevStack, target: Path) -> dict[str, str]:
    return {
        "NATS_URL": stack.nats_url("state"),
        "POSTGRES_URL": stack.postgres_url,
        "BACKUP_URL": f"file://{target}",
    }


def _database_environment(stack: DevStack, target: Path) -> dict[str, str]:
    tools = binaries.postgres("pg_dump").parent
    return {
        "POSTGRES_URL": stack.postgres_url,
        "POSTGRES_ADMIN_URL": stack.postgres_superuser_url("postgres"),
        "BACKUP_DIR": str(target),
        "PATH": f"{tools}:{os.environ['PATH']}",
    }


async def _users(stack: DevStack) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(stack.postgres_superuser_url(_database_of(stack)))
    try:
        return [tuple(row) for row in await connection.fetch(_USERS)]
    finally:
        await connection.close()


def _database_of(stack: DevStack) -> str:
    return stack.postgres_url.partition("?")[0].rpartition("/")[2]


async def _contents(session: ApiSession, canvas_ids: list[str]) -> dict[str, bytes]:
    """Return the encoded Yjs state of each canvas.

    An export is the first encoding of a document. The first encoding merges ids of deleted content, and only later
    encodings of the same content have equal bytes. So `state` decodes each export and encodes it again.
    """
    return {each: state([await session.export(each, "yjs")]) for each in canvas_ids}


async def _draw(workspace: Workspace) -> list[str]:
    """Create users and canvases with content, and delete one canvas. Return the ids of the other canvases."""
    for _ in range(USERS):
        await workspace.create_user()
    ids = []
    for number in range(CANVASES):
        canvas_id = await workspace.create_canvas(f"Drawing {number}")
        shapes = "".join(
            f'<rect x="{x}" y="{number}" width="9" height="9" fill="#{x:02x}{number % 256:02x}80"/>'
            for x in range(1 + number % 40)
        )
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><g>{shapes}</g></svg>'
        await workspace.owner.import_svg(canvas_id, svg.encode())
        ids.append(canvas_id)
    await workspace.owner.delete_canvas(ids.pop())
    return ids


async def _wait_for_more_edits(driver: YjsDriver, clients: list[YjsClient]) -> int:
    """Wait until the clients have made 40 more edits. Return the number of edits that they made during the wait."""
    before = await driver.wait_for_edits(clients, 0)
    return await driver.wait_for_edits(clients, before + 40) - before


@asynccontextmanager
async def _system(home: Path, target: Path, **settings: str) -> AsyncIterator[DevStack]:
    chosen = {**HIGH_LIMITS, "BACKUP_URL": f"file://{target}", **settings}
    async with DevStack(home, settings=chosen) as stack:
        yield stack


async def _run_until_disaster(
    folder: Path, driver: YjsDriver, back_up: "BackUp"
) -> tuple[Before, float, int]:
    """Run a system with live clients, back it up, and destroy it.

    Return the system as it was backed up, the time of the disaster, and the number of edits after the last backup.
    """
    before = Before()
    target = folder / "target"
    async with (
        _system(folder / "first", target) as stack,
        open_workspace(stack, driver) as workspace,
    ):
        ids = await _draw(workspace)
        clients = [await workspace.connect(each) for each in ids[:LIVE]]
        await driver.wait_synced(clients)
        await driver.start_random_edits(clients, seed=1, rate=RATE)
        await driver.wait_for_edits(clients, 40)
        await back_up(stack, target, "full")
        await _wait_for_more_edits(driver, clients)
        await driver.stop_random_edits(clients)
        await driver.wait_saved(clients)
        before.canvases = await _contents(workspace.owner, ids)
        before.users = await _users(stack)
        before.owner = workspace.owner.username, workspace.owner._password
        before.backup_began = time.time()
        await back_up(stack, target, "incremental")
        await driver.start_random_edits(clients, seed=2, rate=RATE)
        lost = await _wait_for_more_edits(driver, clients)
        disaster = time.time()
        stack.kill()
        await workspace.destroy_all()
    shutil.rmtree(folder / "first")
    return before, disaster, lost


class BackUp:
    """Makes state backups with the command `svgx-state backup`."""

    async def __call__(self, stack: DevStack, target: Path, kind: str) -> None:
        """Back up a system into the folder `target`. `kind` is `full` or `incremental`."""
        command = (sys.executable, "-m", "svgx_state", "backup", "--backup-type", kind, "--verify")
        await _run(stack, *command, **_state_environment(stack, target))


class BackUpDatabase(BackUp):
    """Makes database backups with `deploy/scripts/backup_database.sh`."""

    async def __call__(self, stack: DevStack, target: Path, kind: str) -> None:
        """Make a dump of the database. Every dump is full, even if `kind` is `incremental`."""
        await asyncio.to_thread(target.mkdir, exist_ok=True)
        environment = _database_environment(stack, target)
        await _run(stack, str(SCRIPTS / "backup_database.sh"), **environment)


async def _compare(url: str, before: Before, stack: DevStack) -> None:
    """Compare every canvas byte for byte and every user, and log in with a password from before the disaster."""
    async with open_api(url) as api:
        owner = api.session(*before.owner)
        listed = {each.id for each in await owner.canvases()}
        assert listed == set(before.canvases)
        assert await _contents(owner, list(before.canvases)) == before.canvases
    assert await _users(stack) == before.users


def _report(name: str, before: Before, disaster: float, lost: int, restored: float) -> None:
    """Print the recovery point and the recovery time. The recovery ended at `restored` on the monotonic clock."""
    compared = time.monotonic() - restored
    print(
        f"\n{name}: {len(before.canvases)} canvases equal byte for byte, {len(before.users)} users equal\n"
        f"  RPO {disaster - before.backup_began:.1f} s: from the start of the last backup to the disaster"
        f" ({lost} edits)\n"
        f"  RTO {restored - before.recovery_began:.1f} s: from the start of the new system until it serves all canvases"
        f"; the comparison took {compared:.1f} s",
        flush=True,
    )


async def test_state_backup_restores_a_destroyed_system(tmp_path: Path, driver: YjsDriver) -> None:
    """A new system gets every canvas and every user from the state backup. Proves R-BACKUP-8."""
    before, disaster, lost = await _run_until_disaster(tmp_path, driver, BackUp())
    before.recovery_began = time.monotonic()
    admin: Mapping[str, str] = {
        "SVGX_ADMIN_USERNAME": "recovery",
        "SVGX_ADMIN_EMAIL": "recovery@example.org",
    }
    async with _system(tmp_path / "second", tmp_path / "target", **admin) as stack:
        command = (sys.executable, "-m", "svgx_state", "restore", "latest")
        seconds = await _run(stack, *command, **_state_environment(stack, tmp_path / "target"))
        restored = time.monotonic()
        print(f"  restored in {seconds:.1f} s")
        await _compare(stack.url, before, stack)
        _report("state backup", before, disaster, lost, restored)


@pytest.mark.skipif(
    not (SCRIPTS / "restore_database.sh").exists(), reason="needs restore_database.sh"
)
async def test_database_backup_restores_a_destroyed_system(
    tmp_path: Path, driver: YjsDriver
) -> None:
    """A new system gets every canvas and every user from the dump. Proves R-DUMP-1."""
    before, disaster, lost = await _run_until_disaster(tmp_path, driver, BackUpDatabase())
    before.recovery_began = time.monotonic()
    stack = DevStack(tmp_path / "second", settings=HIGH_LIMITS)
    await stack.up(backing_only=True)
    try:
        environment = _database_environment(stack, tmp_path / "target")
        seconds = await _run(
            stack, str(SCRIPTS / "restore_database.sh"), "--yes", "latest", **environment
        )
        print(f"  restored in {seconds:.1f} s")
    finally:
        await stack.down()
    async with stack:
        restored = time.monotonic()
        await _compare(stack.url, before, stack)
        _report("database backup", before, disaster, lost, restored)
