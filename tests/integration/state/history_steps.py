"""Steps of tests on the history of canvases: versions, restores and past content."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from svgx_collab.content.replacements import Replacements
from svgx_common.contract.collab import REPLACE_CONTENT
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import EXPORT, ExportRequest
from svgx_common.contract.storage import versions
from svgx_common.contract.storage.versions import (
    Diff,
    Moment,
    Restored,
    Version,
    VersionPage,
)
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Responder
from svgx_devstack import DevStack
from svgx_workers.pool import Workers
from tests.integration.collab.replica import Replica, replica
from tests.integration.state.service import Client


@asynccontextmanager
async def collab_replica(backing: DevStack) -> AsyncIterator[Replica]:
    """Run a collab replica that holds canvases and replaces their content. A restore needs a collab replica."""
    async with (
        Workers(2, 1024 * 1024 * 1024, 30) as workers,
        replica(backing) as running,
    ):
        responder = Responder(running.bus, "0")
        responder.answer(REPLACE_CONTENT, Replacements(running.bus, workers).replace_content)
        await responder.join()
        await running.bus.settle()
        yield running
        if running.bus.connected:
            await responder.drain()


async def create_version(client: Client, canvas_id: str, name: str | None = None) -> Version:
    """Keep the committed content of a canvas under a name."""
    request = versions.CreateVersionRequest(
        canvas_id=canvas_id, name=name or f"version {secrets.token_hex(4)}"
    )
    return await client.bus.ask(versions.CREATE_VERSION, request, caller=client.me)


async def restore_version(
    client: Client,
    canvas_id: str,
    version_id: str,
    caller: Caller | None = None,
    timeout: float | None = None,
) -> Restored:
    """Give a canvas the content of a version. The restore is committed when this returns."""
    request = versions.VersionRequest(canvas_id=canvas_id, version_id=version_id)
    return await client.bus.ask(
        versions.RESTORE_VERSION, request, caller=caller or client.me, timeout=timeout
    )


async def past_content(
    client: Client, canvas_id: str, *, version: str | None = None, at: str | None = None
) -> bytes:
    """Return the content of a canvas in a version, or at a time, as one Yjs update."""
    request = ExportRequest.model_validate(
        {"canvas_id": canvas_id, "format": "yjs", "version": version, "at": at}
    )
    exported: Blob = await client.bus.ask(EXPORT, request, caller=client.me)
    return exported.content


async def list_versions(client: Client, canvas_id: str, **query: object) -> VersionPage:
    """Return a page of a canvas's versions."""
    request = versions.ListVersionsRequest.model_validate({"canvas_id": canvas_id, **query})
    return await client.bus.ask(versions.LIST_VERSIONS, request, caller=client.me)


async def rename_version(client: Client, canvas_id: str, version_id: str, name: str) -> Version:
    """Give a version a new name."""
    request = versions.RenameVersionRequest(canvas_id=canvas_id, version_id=version_id, name=name)
    return await client.bus.ask(versions.RENAME_VERSION, request, caller=client.me)


async def find_moment(client: Client, canvas_id: str, at: str | None = None) -> Moment:
    """Return the newest revision of a canvas at a time, or at present."""
    request = versions.MomentRequest.model_validate({"canvas_id": canvas_id, "at": at})
    return await client.bus.ask(versions.FIND_MOMENT, request, caller=client.me)


async def compare(client: Client, canvas_id: str, version_id: str, **query: object) -> Diff:
    """Return a page of the changes since a version."""
    request = versions.DiffRequest.model_validate(
        {"canvas_id": canvas_id, "version_id": version_id, **query}
    )
    return await client.bus.ask(versions.DIFF_VERSION, request, caller=client.me)


async def thumbnail(client: Client, canvas_id: str, version_id: str) -> Blob:
    """Return the picture of a version."""
    request = versions.VersionRequest(canvas_id=canvas_id, version_id=version_id)
    return await client.bus.ask(versions.THUMBNAIL, request, caller=client.me)
