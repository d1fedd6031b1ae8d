"""Changes of elements: a worker computes the edit of a request, and the canvas's holder applies it."""

import time

from pydantic_core import to_json

from svgx_collab.content.imports import (
    IMPORT_ERRORS,
    QUEUE_SECONDS,
    SAVE_SECONDS,
    current_content,
    save_edit,
)
from svgx_collab.content.worker_errors import ErrorTexts, worker_errors
from svgx_common.contract.collab import Edit
from svgx_common.contract.live.element_changes import ChangeElementsRequest, ElementsChanged
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_workers.pool import Workers

CHANGE_ERRORS = ErrorTexts(
    name="changes of elements",
    field=None,
    account_limit=IMPORT_ERRORS.account_limit,
    too_much="changing the elements of this canvas takes too much {}",
)
"""The texts of the errors of changes."""


class ElementChanges:
    """The changes of elements on one replica. They share the worker processes and the limits of imports."""

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers

    async def change_elements(self, request: ChangeElementsRequest, call: Call) -> ElementsChanged:
        """Carry out all operations of a request as one edit of the caller, or none of them.

        The edit is computed against the holder's document, and merges with the edits that clients make meanwhile. All
        steps together end before the caller's deadline.

        Raises `NotFound`, `Conflict` or `Invalid` with the field of the operation that cannot be carried out. Raises
        `TooLarge` for changes that need too much time or memory, `TooManyRequests` while the caller has too many
        requests, `Overloaded` while too many wait in total, and `Unavailable` without a worker. Also raises the errors
        of `save_edit`.
        """
        ends_at = time.monotonic() + call.deadline - time.time()
        author = call.signed_in_caller().user_id
        operations = [each.model_dump(exclude_unset=True) for each in request.operations]
        with worker_errors(self._workers, CHANGE_ERRORS):
            async with self._workers.turn(
                author, wait_seconds=QUEUE_SECONDS, deadline=ends_at - SAVE_SECONDS
            ) as worker:
                current = await current_content(self._bus, request.canvas_id)
                changed = await worker.change_elements(current, to_json(operations))
        # Send an empty update too, because the answer has the revision, and shows that all earlier edits are saved.
        edit = Edit(author, changed.update)
        revision = await save_edit(self._bus, request.canvas_id, edit, ends_at)
        return ElementsChanged(revision=revision, created=changed.created)
