"""Backups at an object storage, which is a server with the S3 protocol."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from svgx_devstack import DevStack
from svgx_state.backups.format import target
from svgx_state.backups.format.target import Target, TargetFailed, TargetUnavailable
from tests.certificates import write_certificate
from tests.integration.state.drawing import elements
from tests.integration.state.service import Client, replica
from tests.integration.state.vault import Vault, database, lose, run_stand_ins, tables_of

SERVER = Path(__file__).parents[1] / "object_storage" / "server.mjs"


@pytest.fixture
async def s3(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Run a server with the S3 protocol. Yield the folder with the objects of its bucket `backups`."""
    process = await asyncio.create_subprocess_exec(
        str(node), str(SERVER), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        # The state service's README lists these variables.
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "S3RVER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3RVER")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield tmp_path / "backups"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("scheme", "allow_http", "reason"),
    [
        ("https", "false", "the certificate of the target is not trusted here"),
        ("http", "true", "the target does not answer"),
        ("http", "false", "check the URL of the target"),
    ],
)
async def test_failed_request_names_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, allow_http: str, reason: str
) -> None:
    """A fault of TLS or of the settings is not reported as a target that does not answer. Proves R-BACKUP-4."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate, 30, key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    monkeypatch.setattr(target, "RETRIES", 0)
    server = await asyncio.start_server(
        hang_up, "127.0.0.1", 0, ssl=tls if scheme == "https" else None
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT", f"{scheme}://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", allow_http)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
        with pytest.raises(TargetFailed, match=reason):
            await Target.open("s3://bucket/backups").put("a/b", b"content")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, TargetUnavailable),
        (429, TargetUnavailable),
        (500, TargetUnavailable),
        (503, TargetUnavailable),
        (None, TargetUnavailable),
        (403, TargetFailed),
        (501, TargetFailed),
        (507, TargetFailed),
    ],
)
async def test_failed_request_tells_an_outage_from_a_refusal(
    monkeypatch: pytest.MonkeyPatch, status: int | None, kind: type[Exception]
) -> None:
    """A target that does not answer, or is overloaded, is unavailable. Proves R-BACKUP-12."""
    monkeypatch.setattr(target, "RETRIES", 0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if status is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 %d Reason\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
        bucket = Target.open("s3://bucket/backups")
        for request in (bucket.put("a/b", b"content"), bucket.get("a/b"), bucket.folders()):
            with pytest.raises(TargetFailed) as raised:
                await request
            assert raised.type is kind


async def test_panic_of_the_library_is_a_failed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-BACKUP-4: when a setting makes the library `obstore` panic, the request fails with `TargetFailed`."""
    monkeypatch.setenv("AWS_ENDPOINT", "nonsense")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
    bucket = Target.open("s3://bucket/backups")
    for request in (
        bucket.put("a/b", b"content"),
        bucket.get("a/b"),
        bucket.folders(),
        bucket.names("a"),
        bucket.delete(["a/b"]),
    ):
        with pytest.raises(TargetFailed, match="check the URL of the target"):
            await request


def test_url_of_an_unknown_storage_is_refused_with_its_cause() -> None:
    """The error for the URL of an unknown storage says to check the target's URL. Proves R-BACKUP-4."""
    with pytest.raises(ValueError, match="check the URL of the target"):
        Target.open("unknown://bucket")


async def test_backup_at_an_object_storage_is_verified_restored_and_deleted(
    backing: DevStack, client: Client, s3: Path
) -> None:
    """Backups are stored in a bucket with the S3 protocol, below the path of the target's URL. Proves R-BACKUP-1."""
    vault = Vault(client, s3 / "below" / "this")
    async with (
        database(backing) as url,
        replica(backing, postgres_url=url, backup_url="s3://backups/below/this", worker_count=1),
        run_stand_ins(backing, client),
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
            await vault.wait_gone(backup_id)
            assert not vault.objects(backup_id)
