"""Differences between two states of a canvas, as changes of elements. Worker processes compute them."""

from datetime import UTC, datetime

from svgx_common.contract.state import Content
from svgx_common.contract.storage.versions import DIFF_VERSION, NOW, Diff, DiffRequest
from svgx_common.messaging.responder import Call
from svgx_common.pages import Cursor, Listing, invalid_cursor
from svgx_state.history.past import Past
from svgx_state.history.versions import Versions
from svgx_state.worker_errors import WORKER_WAIT_SECONDS, worker_errors
from svgx_workers.pool import Workers

MARGIN_SECONDS = 2.0
"""Seconds before the caller's deadline at which the worker is ended. The remaining time is for sending the answer."""

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The time in every cursor. It has no meaning, because the changes on a page are not ordered by time."""


class Differences:
    """The comparisons of one replica."""

    def __init__(self, past: Past, versions: Versions, workers: Workers) -> None:
        self._past = past
        self._versions = versions
        self._workers = workers

    async def compare(self, request: DiffRequest, call: Call) -> Diff:
        """Return a page of the changes from one version to another version, or to the present.

        All pages of a comparison with the present use the revision that was the newest at the first page. Raises
        `NotFound` for an unknown version, and `TooLarge` or `Invalid` for content over a limit. Comparisons and exports
        share the workers: raises `TooManyRequests` if too many of the caller's jobs wait for one, and `Overloaded` if
        too many jobs of all callers wait.
        """
        deadline = call.ends_at() - MARGIN_SECONDS
        listing = Listing.of(DIFF_VERSION, request)
        position = _position(listing.decode(request.cursor))
        with worker_errors(self._workers, request.canvas_id, "comparisons"):
            async with self._workers.turn(
                call.signed_in_caller().user_id, wait_seconds=WORKER_WAIT_SECONDS, deadline=deadline
            ) as worker:
                before = await self._versions.content(request.canvas_id, request.version_id)
                after = await self._after(request, position)
                revision, start = after.revision, 0 if position is None else position[1]
                old = (await worker.state(before.updates, before.outline)).content
                new = (await worker.state(after.updates, after.outline)).content
                page = await worker.difference(old, new, start, request.limit)
        following = page.pop("next")
        cursor = None if following is None else Cursor(_NO_TIME, f"{revision}.{following}")
        return Diff.model_validate(
            {
                **page,
                "from_revision": before.revision,
                "to_revision": revision,
                "next": None if cursor is None else listing.encode(cursor),
            }
        )

    async def _after(self, request: DiffRequest, position: tuple[int, int] | None) -> Content:
        """Return the content with which the version is compared."""
        if request.to != NOW:
            return await self._versions.content(request.canvas_id, request.to)
        newest = (await self._past.moment(request.canvas_id)).revision
        if position is not None:
            if position[0] > newest:
                raise invalid_cursor()
            return await self._past.content(request.canvas_id, position[0])
        return await self._past.content(request.canvas_id, newest)


def _position(cursor: Cursor | None) -> tuple[int, int] | None:
    """Return the revision and the number of changes before the page, or None for the first page. Raises `Invalid`."""
    if cursor is None:
        return None
    revision, _, start = cursor.id.partition(".")
    if not (revision.isdecimal() and start.isdecimal() and len(cursor.id) < 30):
        raise invalid_cursor()
    return int(revision), int(start)
