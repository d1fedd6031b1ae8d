"""Edits of elements: a worker computes the edit of a request, and the canvas's holder applies and saves it."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from svgx_canvas import YjsClient
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
from svgx_common.messaging.bus import Bus
from svgx_workers.jobs import Jobs
from svgx_workers.pool import Workers

CHANGE_ERRORS = ErrorTexts(
    name="changes of elements",
    field=None,
    account_limit=IMPORT_ERRORS.account_limit,
    too_much="changing the elements of this canvas takes too much {}",
)
"""The texts of the errors of changes."""


class ComputedEdit(Protocol):
    """The result of a worker."""

    @property
    def update(self) -> bytes:
        """The Yjs v1 update that changes the document."""

    @property
    def client(self) -> YjsClient:
        """The Yjs client of the update, after the update."""


Result = TypeVar("Result", bound=ComputedEdit)

Compute = Callable[[Jobs, bytes, YjsClient | None], Awaitable[Result]]
"""A function that lets a worker compute an edit of the current content, as an edit of this Yjs client."""


class ElementEdits:
    """The edits of elements on one replica. They share the worker processes and the limits of imports.

    The edits of an author reuse Yjs clients. A client is in use from the start of a computation until its edit is
    saved. After any failure to save the edit, the client is not used again, because the edit may still arrive at the
    holder. If an editor of the canvas writes structs as such a client, one edit can be without effect, although it is
    reported as saved. The editor could as well delete the elements.
    """

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers
        self._idle_clients = IdleClients()

    async def edit(
        self, canvas_id: str, author: str, ends_at: float, compute: Compute[Result]
    ) -> tuple[Result, int]:
        """Compute and save an edit. Return the worker's result and the revision of the edit's commit.

        The edit is computed against the holder's document, and merges with the edits that clients make meanwhile. All
        steps together end before `ends_at`, the caller's deadline on the monotonic clock.

        Raises `NotFound`, `Conflict` or `Invalid` for a refusal of the worker. Raises `TooLarge` for an edit that needs
        too much time or memory, `TooManyRequests` while the author has too many requests, `Overloaded` while too many
        wait in total, and `Unavailable` without a worker. Also raises the errors of `save_edit`.
        """
        with worker_errors(self._workers, CHANGE_ERRORS):
            async with self._workers.turn(
                author, wait_seconds=QUEUE_SECONDS, deadline=ends_at - SAVE_SECONDS
            ) as worker:
                result = await self._compute(worker, canvas_id, author, compute)
        # Send an empty update too, because the answer has the revision, and shows that all earlier edits are saved.
        edit = Edit(author, result.update)
        revision = await save_edit(self._bus, canvas_id, edit, ends_at)
        self._idle_clients.put(canvas_id, author, result.client)
        return result, revision

    async def _compute(
        self, worker: Jobs, canvas_id: str, author: str, compute: Compute[Result]
    ) -> Result:
        """Let the worker compute the edit. Its Yjs client is not idle any more, unless the computation fails."""
        # Take the client before the content is read, so that the content has all edits of the client.
        client = self._idle_clients.take(canvas_id, author)
        try:
            return await compute(worker, await current_content(self._bus, canvas_id), client)
        except BaseException:
            if client is not None:
                self._idle_clients.put(canvas_id, author, client)
            raise
