"""Replacements of a canvas's content: a worker computes the edit, and the canvas's holder applies it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from svgx_canvas import SvgRefused
from svgx_collab.imports import (
    QUEUE_PATIENCE,
    RETRY_AFTER,
    SAVE_SECONDS,
    current_content,
    save_edit,
)
from svgx_common.contract.collab import Edit, ReplaceContentRequest, Replaced
from svgx_common.contract.errors import Invalid, Overloaded, TooLarge, TooManyRequests, Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_workers.errors import AccountBusy, WorkerDied, WorkerError, WorkersBusy, WorkerTimeout
from svgx_workers.pool import Workers


class Replacements:
    """The replacements of one replica. They have the steps, the worker processes and the limits of imports."""

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers

    async def replace_content(self, request: ReplaceContentRequest, call: Call) -> Replaced:
        """Make `canvas` and `elements` of a canvas equal to the wanted content, in one edit of the given author.

        The edit is the smallest one, so it merges with the edits that clients make meanwhile. It is applied and saved
        as a whole or not at all. All steps together end before the caller's deadline. Raises `Invalid` for content
        that is not an update, `TooLarge` for content that needs too much time or memory, `TooManyRequests` while the
        author has too many imports, `Overloaded` while too many imports of all callers wait, and the errors of
        `ask_holder`.
        """
        ends_at = time.monotonic() + call.deadline - time.time()
        with self._worker_errors():
            async with self._workers.turn(
                request.author, patience=QUEUE_PATIENCE, deadline=ends_at - SAVE_SECONDS
            ) as worker:
                current = await current_content(self._bus, request.canvas_id)
                update = await worker.replacement(current, request.content)
        # An empty update is sent too: its answer says that all edits before it are saved, and gives the revision.
        edit = Edit(request.author, update)
        return Replaced(revision=await save_edit(self._bus, request.canvas_id, edit, ends_at))

    @contextmanager
    def _worker_errors(self) -> Iterator[None]:
        """Translate errors of the workers into errors of the contract."""
        try:
            yield
        except SvgRefused as refused:
            raise Invalid(refused.detail, field="content", limit=refused.limit) from None
        except AccountBusy:
            limit = self._workers.turns_each
            raise TooManyRequests(
                f"at most {limit} imports and restores of one account at a time; "
                "try again when the others have ended",
                limit=limit,
                retry_after=RETRY_AFTER,
            ) from None
        except WorkersBusy:
            raise Overloaded("too many imports are waiting", retry_after=RETRY_AFTER) from None
        except WorkerTimeout:
            raise TooLarge(
                "comparing the content with the current one takes too much time",
                field="content",
                limit=f"{self._workers.timeout_seconds:g} s",
            ) from None
        except WorkerDied:
            raise TooLarge(
                "comparing the content with the current one takes too much memory",
                field="content",
                limit=self._workers.memory_bytes or None,
            ) from None
        except WorkerError:
            # The service stops, or no process can be started. The content is not the cause.
            raise Unavailable("restores are not available at present; try again") from None
