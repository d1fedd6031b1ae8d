"""Pictures of versions. A worker draws each picture once. The picture is then stored in the version's row."""

from svgx_common.contract.operation import Blob
from svgx_common.contract.storage.versions import VersionRequest
from svgx_common.messaging.responder import Call
from svgx_common.postgres import Database
from svgx_state.history.versions import Versions, no_such_version
from svgx_state.worker_errors import WORKER_WAIT_SECONDS, worker_errors
from svgx_workers.pool import Workers

SIDE_PIXELS = 320
"""Length of the longer side of a picture, in pixels."""

FILENAME = "thumbnail.png"

MARGIN_SECONDS = 2.0
"""Seconds from the time limit of the worker to the caller's deadline. The answer is sent in this time."""


class Thumbnails:
    """The pictures that one replica draws."""

    def __init__(self, database: Database, versions: Versions, workers: Workers) -> None:
        self._database = database
        self._versions = versions
        self._workers = workers

    async def thumbnail(self, request: VersionRequest, call: Call) -> Blob:
        """Return the picture of a version.

        Raises `NotFound` for an unknown version, and `TooLarge` or `Invalid` for content that cannot be drawn. Raises
        `TooManyRequests` while too many of the caller's jobs wait for a worker, and `Overloaded` while too many jobs of
        all callers wait.
        """
        stored = await self._stored(request)
        if stored is not None:
            return Blob(stored, "image/png", FILENAME)
        deadline = call.ends_at() - MARGIN_SECONDS
        with worker_errors(self._workers, request.canvas_id, "exports"):
            async with self._workers.turn(
                call.signed_in_caller().user_id, wait_seconds=WORKER_WAIT_SECONDS, deadline=deadline
            ) as worker:
                # Another request may have drawn the picture while this request waited.
                if (stored := await self._stored(request)) is not None:
                    return Blob(stored, "image/png", FILENAME)
                content = await self._versions.content(request.canvas_id, request.version_id)
                state = await worker.state(content.updates, content.outline)
                svg = await worker.export_svg(state.content)
                png = await worker.render_png(svg.content, SIDE_PIXELS, SIDE_PIXELS)
        await self._database.run("set_thumbnail", request.version_id, png, content.revision)
        return Blob(png, "image/png", FILENAME)

    async def _stored(self, request: VersionRequest) -> bytes | None:
        row = await self._database.row("thumbnail", request.canvas_id, request.version_id)
        if row is None:
            raise no_such_version()
        stored: bytes | None = row["thumbnail"]
        return stored
