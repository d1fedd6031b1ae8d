"""Backups at an object storage: a server with the protocol of S3."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from tests.integration.state.drawing import elements
from tests.integration.state.service import Client, replica
from tests.integration.state.vault import Vault, database, lose, neighbours, tables_of

SERVER = Path(__file__).parents[1] / "object_storage" / "server.mjs"


@pytest.fixture
async def s3(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Run a server with the protocol of S3. Return the folder with the objects of its bucket `backups`."""
    process = await asyncio.create_subprocess_exec(
        str(node), str(SERVER), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        # The names of the variables are those of the AWS command line.
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "S3RVER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3RVER")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield tmp_path / "backups"
    finally:
        process.kill()
        await process.wait()


async def test_backup_at_an_object_storage_is_verified_restored_and_deleted(
    backing: DevStack, client: Client, s3: Path
) -> None:
    """A bucket with the protocol of S3 takes backups, below the path of its URL. Proves R-BACKUP-1."""
    vault = Vault(client, s3 / "below" / "this")
    async with (
        database(backing) as url,
        replica(backing, postgres_url=url, backup_url="s3://backups/below/this", worker_count=1),
        neighbours(backing, client),
        tables_of(url) as tables,
    ):
        canvas_id = await vault.draw("a", "b")
        full = await vault.back_up()
        await vault.draw("c", canvas_id=canvas_id)
        increment = await vault.back_up(backup_type="incremental")
        verification = await vault.verify(increment.id)
        assert (verification.status, verification.canvases) == ("passed", 1)
        before = await vault.state(canvas_id)
        await lose(tables, canvas_id)
        assert (await vault.restore(increment.id)).status == "complete"
        assert await vault.state(canvas_id) == before
        assert set(elements((await client.load(canvas_id)).updates)) == {"a", "b", "c"}
        for backup_id in (increment.id, full.id):
            assert vault.objects(backup_id)
            await vault.delete(backup_id)
            await vault.gone(backup_id)
            assert not vault.objects(backup_id)
