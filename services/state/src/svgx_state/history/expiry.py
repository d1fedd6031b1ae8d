"""The end of the journal's retention: versions with a name keep their content, and other versions are deleted."""

from datetime import datetime

import structlog

from svgx_canvas import SvgRefused
from svgx_common.contract.errors import NotFound
from svgx_common.contract.state import Content
from svgx_common.postgres import Database
from svgx_state.history import metrics
from svgx_state.history.kept_content import encode_content
from svgx_state.history.past import Past
from svgx_workers.errors import WorkerDied, WorkerTimeout
from svgx_workers.pool import Workers

log = structlog.get_logger(__name__)

PAGE_SIZE = 20
"""Largest number of revisions that one query reads."""

DELETED_TOGETHER = 1000
"""Largest number of versions that one statement deletes."""


class Expiry:
    """The hook that the retention of the journal awaits before it drops a day."""

    def __init__(self, database: Database, past: Past, workers: Workers) -> None:
        self._database = database
        self._past = past
        self._workers = workers

    async def before_drop(self, moment: datetime) -> None:
        """Delete the versions without a name from before `moment`, and keep the content of those with a name.

        A request that names one of these versions meanwhile gets 404, or the content of the version is kept. After an
        interruption at any point, a repeated call does the rest. Raises `Unavailable` and `WorkerUnavailable`.
        After these errors, the journal must not be dropped.
        """
        # The deletion comes first, because a version could otherwise be named between the last list of named versions
        # and the deletion. A deletion skips the versions that are named while it runs, so both steps are repeated
        # until neither finds a row.
        while True:
            deleted = await self._delete_unnamed(moment)
            kept = await self._keep_named(moment)
            if not deleted and not kept:
                break
        await self._database.run("drop_orphan_content")

    async def _delete_unnamed(self, moment: datetime) -> int:
        """Delete at most `DELETED_TOGETHER` unnamed versions from before `moment`. Return their number."""
        removed = await self._database.rows("expire_versions", moment, DELETED_TOGETHER)
        metrics.VERSIONS_REMOVED.labels("expired").inc(len(removed))
        return len(removed)

    async def _keep_named(self, moment: datetime) -> int:
        """Keep the content of at most `PAGE_SIZE` named revisions from before `moment`. Return their number."""
        rows = await self._database.rows("expiring_named_versions", moment, PAGE_SIZE)
        for row in rows:
            canvas_id, revision = row["canvas_id"], row["revision"]
            content = await self._content(canvas_id, revision)
            await self._database.run(
                "keep_version_content", canvas_id, revision, encode_content(content)
            )
        return len(rows)

    async def _content(self, canvas_id: str, revision: int) -> Content:
        """Return the content of a revision as one update, or as all its updates if they cannot be merged."""
        try:
            # Read deleted canvases too, because they may be restored with their versions.
            content = await self._past.content(canvas_id, revision, also_deleted=True)
        except NotFound:
            # Rows were removed by hand, or the removal of the canvas has begun, so the version cannot be read even
            # before the drop. Keep empty content for it.
            log.warning("a version has no content", canvas_id=canvas_id, revision=revision)
            return Content(revision, ())
        try:
            compacted = await self._workers.compact(None, content.updates, outlined=False)
            return Content(revision, (compacted.update,))
        except (SvgRefused, WorkerDied, WorkerTimeout) as error:
            log.warning("a version could not be compacted", canvas_id=canvas_id, error=str(error))
            return content
