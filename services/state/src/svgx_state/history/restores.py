"""Restores: a canvas gets the content of a version again, as an edit."""

import time

import structlog

from svgx_common.contract.collab import REPLACE_CONTENT, ReplaceContentRequest
from svgx_common.contract.errors import DeadlineExceeded, SvgxError, Unavailable
from svgx_common.contract.storage.events import VersionRestored
from svgx_common.contract.storage.versions import Restored, Version, VersionKind, VersionRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_state.history import metrics
from svgx_state.history.versions import Versions
from svgx_state.worker_errors import WORKER_WAIT_SECONDS, worker_errors
from svgx_workers.pool import Workers

log = structlog.get_logger(__name__)

MARGIN_SECONDS = 1.0
"""Seconds from the time limit for collab's answer to the caller's deadline."""

REPLACE_SECONDS = 25.0
"""Seconds that are reserved for collab.

The content must be ready this long before the time limit for collab's answer.
"""


class Restores:
    """The restores of one replica. Collab computes and applies the edit."""

    def __init__(self, bus: Bus, versions: Versions, workers: Workers) -> None:
        self._bus = bus
        self._versions = versions
        self._workers = workers

    async def restore(self, request: VersionRequest, call: Call) -> Restored:
        """Give a canvas the content of a version, by an edit of the caller.

        Before the edit, the present content is kept as a version. The edit is saved as a whole or not at all. If the
        canvas has the content of the version already, there is no edit and no event `VersionRestored`.

        Raises `NotFound` for an unknown version, `TooLarge` or `Invalid` for content over a limit, `TooManyRequests`
        while too many of the caller's jobs wait for a worker, and `Overloaded` while too many jobs of all callers wait.
        Raises `Unavailable` or `DeadlineExceeded` when collab did not answer; the restore may still have happened.
        """
        started = time.perf_counter()
        outcome = "failed"
        try:
            restored = await self._restore(request, call)
            outcome = "restored"
        except SvgxError as error:
            outcome = "refused" if error.status < 500 else "failed"
            raise
        finally:
            metrics.VERSION_RESTORES.labels(outcome).inc()
            metrics.VERSION_RESTORE_SECONDS.observe(time.perf_counter() - started)
        return restored

    async def _restore(self, request: VersionRequest, call: Call) -> Restored:
        user_id, canvas_id = call.signed_in_caller().user_id, request.canvas_id
        ends_at = call.ends_at() - MARGIN_SECONDS
        with worker_errors(self._workers, canvas_id, "restores"):
            async with self._workers.turn(
                user_id, wait_seconds=WORKER_WAIT_SECONDS, deadline=ends_at - REPLACE_SECONDS
            ) as worker:
                # The content is loaded when a worker is free, so that waiting restores take no memory.
                content = await self._versions.content(canvas_id, request.version_id)
                wanted = (await worker.state(content.updates, content.outline)).content
        before = await self._versions.add(canvas_id, VersionKind.BEFORE_RESTORE, user_id)
        assert before is not None
        replacement = ReplaceContentRequest(canvas_id=canvas_id, author=user_id)
        replaced = await self._bus.ask(
            REPLACE_CONTENT,
            replacement.model_copy(update={"content": wanted}),
            timeout=max(0.05, ends_at - time.monotonic()),
        )
        revision = replaced.revision
        if not replaced.changed:
            return Restored(revision=revision, before=before)
        if replaced.was_repeated:
            revision = await self._versions.first_edit_after(before, canvas_id, user_id, revision)
        restored = VersionRestored(
            canvas_id=canvas_id, version_id=request.version_id, revision=revision
        )
        return Restored(revision=revision, before=await self._note(before, restored, user_id))

    async def _note(self, before: Version, restored: VersionRestored, user_id: str) -> Version:
        """Move the version `before` to the last revision before the restore, and emit the event. Return the version."""
        try:
            return await self._versions.note_restored(before, restored, user_id)
        except (Unavailable, DeadlineExceeded):
            # The restore is saved. The version `before` lacks at most the edits that were saved just before the
            # restore.
            log.warning("a restore could not be recorded: its event is missing")
            return before
