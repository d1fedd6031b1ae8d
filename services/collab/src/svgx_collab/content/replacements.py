"""Replacements of a canvas's content: a worker computes the edit, and the canvas's holder applies it."""

from svgx_collab.content.imports import (
    QUEUE_SECONDS,
    SAVE_SECONDS,
    current_content,
    save_edit,
)
from svgx_collab.content.worker_errors import ErrorTexts, worker_errors
from svgx_common.contract.collab import Edit, ReplaceContentRequest, Replaced
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder
from svgx_common.messaging.responder import Call
from svgx_workers.pool import Workers
from svgx_yjs.structure import EMPTY_UPDATE

REPLACEMENT_ERRORS = ErrorTexts(
    name="restores",
    field="content",
    account_limit="imports, restores and changes of elements of one account run or wait at a time",
    too_much="comparing the new content with the current content takes too much {}",
)
"""The texts of the errors of a replacement."""


class Replacements:
    """The replacements of one replica. They share the worker processes and the limits of imports."""

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers

    async def replace_content(self, request: ReplaceContentRequest, call: Call) -> Replaced:
        """Make the root maps `canvas` and `elements` of a canvas equal to the requested content, in one edit.

        The edit changes as little as possible, so it merges with the edits that clients make meanwhile. The edit is
        applied and saved as a whole or not at all. All steps together end before the caller's deadline.

        Raises `Invalid` for content that is not an update, and `TooLarge` for content that needs too much time or
        memory. Raises `TooManyRequests` while the author has too many imports and replacements, `Overloaded` while too
        many imports and replacements wait in total, and `Unavailable` without a worker. Also raises the errors of
        `save_edit`.
        """
        ends_at = call.ends_at()
        with worker_errors(self._workers, REPLACEMENT_ERRORS):
            async with self._workers.turn(
                request.author, wait_seconds=QUEUE_SECONDS, deadline=ends_at - SAVE_SECONDS
            ) as worker:
                current = await current_content(self._bus, request.canvas_id)
                update = await worker.replacement(current, request.content)
        # Send an empty update too, because the answer has the revision, and shows that all earlier edits are saved.
        edit = Edit(request.author, update)
        holder = Holder(self._bus, request.canvas_id)
        revision = await save_edit(self._bus, request.canvas_id, edit, ends_at, holder)
        return Replaced(
            revision=revision, changed=update != EMPTY_UPDATE, was_repeated=holder.has_repeated
        )
