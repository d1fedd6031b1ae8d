"""Changes of elements: a worker computes the edit of a request, and the canvas's holder applies it."""

import time

from pydantic_core import to_json

from svgx_canvas import Changed
from svgx_collab.content.idle_clients import IdleClients
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
from svgx_workers.jobs import Jobs
from svgx_workers.pool import Workers

CHANGE_ERRORS = ErrorTexts(
    name="changes of elements",
    field=None,
    account_limit=IMPORT_ERRORS.account_limit,
    too_much="changing the elements of this canvas takes too much {}",
)
"""The texts of the errors of changes."""


class ElementChanges:
    """The changes of elements on one replica. They share the worker processes and the limits of imports.

    The edits of an author reuse Yjs clients. A client is in use from the start of a computation until its edit is
    saved. After any failure to save the edit, the client is not used again, because the edit may still arrive at the
    holder. If an editor of the canvas writes structs as such a client, one edit can be without effect, although it is
    reported as saved. The editor could as well delete the elements.
    """

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers
        self._idle_clients = IdleClients()

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
        with worker_errors(self._workers, CHANGE_ERRORS):
            async with self._workers.turn(
                author, wait_seconds=QUEUE_SECONDS, deadline=ends_at - SAVE_SECONDS
            ) as worker:
                changed = await self._compute(worker, request, author)
        # Send an empty update too, because the answer has the revision, and shows that all earlier edits are saved.
        edit = Edit(author, changed.update)
        revision = await save_edit(self._bus, request.canvas_id, edit, ends_at)
        self._idle_clients.put(request.canvas_id, author, changed.client)
        return ElementsChanged(revision=revision, created=changed.created)

    async def _compute(self, worker: Jobs, request: ChangeElementsRequest, author: str) -> Changed:
        """Let the worker compute the edit. Its Yjs client is not idle any more, unless the computation fails."""
        operations = [each.model_dump(exclude_unset=True) for each in request.operations]
        # Take the client before the content is read, so that the content has all edits of the client.
        client = self._idle_clients.take(request.canvas_id, author)
        try:
            current = await current_content(self._bus, request.canvas_id)
            return await worker.change_elements(current, to_json(operations), client)
        except BaseException:
            if client is not None:
                self._idle_clients.put(request.canvas_id, author, client)
            raise
