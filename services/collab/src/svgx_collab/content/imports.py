"""Import of SVG files. A worker process reads the file, and the canvas's holder applies its content as one edit."""

import time

import structlog

from svgx_collab.content.worker_errors import ErrorTexts, worker_errors
from svgx_common.contract.close_codes import Close
from svgx_common.contract.collab import (
    CANVAS_SYNC,
    Dropped,
    Edit,
    Imported,
    ImportSvgRequest,
    SyncReply,
    SyncRequest,
)
from svgx_common.contract.errors import (
    TEMPORARY_ERRORS,
    Internal,
    Overloaded,
    SvgxError,
    TooLarge,
    TooManyRequests,
)
from svgx_common.contract.live.rejections import Reason, Rejection
from svgx_common.contract.storage.versions import VERSION_BEFORE_IMPORT, VersionBeforeImportRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import Holder, ask_holder, ask_to_save
from svgx_common.messaging.responder import Call
from svgx_common.messaging.wire import decode, encode
from svgx_workers.pool import Workers
from svgx_yjs.structure import EMPTY_STATE_VECTOR, EMPTY_UPDATE

log = structlog.get_logger(__name__)

QUEUE_SECONDS = 15.0
"""Longest time, in seconds, that an import, a restore or a change waits for a worker. Then the request is refused."""

SYNC_SECONDS = 10.0
"""Time limit for reading the current content, with repetitions, in seconds. Beyond it, the import or restore fails."""

SAVE_SECONDS = 12.0
"""Seconds before the caller's deadline at which the worker must have ended, so that the edit can still be saved."""

ATTEMPT_SECONDS = 20.0
"""Time limit for one answer of the holder to an edit, in seconds. Beyond it, the edit is sent again."""

MARGIN_SECONDS = 1.0
"""Time between the last attempt to save and the caller's deadline, in seconds, so that the caller gets the error."""

VERSION_SECONDS = 3.0
"""Time limit for the version that is made before an import, in seconds. Beyond it, the import goes on without one."""

IMPORT_ERRORS = ErrorTexts(
    name="imports",
    field=None,
    account_limit=(
        "imports, restores and changes of elements of one account run or wait at a time, "
        f"and each waits {QUEUE_SECONDS:g} s at most"
    ),
    too_much="reading the file takes more {} than an import may use",
)
"""The texts of the errors of an import."""


async def current_content(bus: Bus, canvas_id: str) -> bytes:
    """Return the canvas's content as one update. Raises the errors of `ask_holder`.

    Unsaved edits are included, except those that the holder has not integrated yet (see `bounds.Pace`).
    """
    content = encode(SyncRequest(EMPTY_STATE_VECTOR))
    reply = await ask_holder(
        bus,
        canvas_id,
        CANVAS_SYNC,
        content,
        retry_seconds=SYNC_SECONDS,
        attempt_seconds=SYNC_SECONDS / 2,
    )
    return decode(SyncReply, reply).update


async def save_edit(
    bus: Bus, canvas_id: str, edit: Edit, ends_at: float, holder: Holder | None = None
) -> int:
    """Let the holder apply and save an edit. Return the canvas's revision after the commit.

    If the edit was sent again (see `Holder.has_repeated`), this revision may be later than that of the edit. `ends_at`
    is the caller's deadline on the monotonic clock. Raises the errors of `ask_holder`. If a bound refuses the
    edit, raises `TooLarge` with the limit, `TooManyRequests` with the seconds to wait, or `Overloaded`.
    """
    saved = await ask_to_save(
        bus,
        canvas_id,
        edit,
        retry_seconds=ends_at - time.monotonic() - MARGIN_SECONDS,
        attempt_seconds=ATTEMPT_SECONDS,
        holder=holder,
    )
    if saved.rejected:
        raise _refusal(Rejection.unpack(saved.rejected[0]))
    return saved.revision


def _refusal(rejection: Rejection) -> SvgxError:
    """Return the error for the author of an edit that the holder has rejected."""
    if rejection.reason is Reason.MALFORMED:
        return Internal()
    if rejection.code is Close.TOO_LARGE:
        return TooLarge(rejection.text, limit=rejection.amount)
    if rejection.reason in (Reason.ACCOUNT_TIME, Reason.ACCOUNT_CLIENTS):
        return TooManyRequests(rejection.text, retry_after=rejection.amount)
    return Overloaded(rejection.text)


class Imports:
    """The imports of one replica. Any replica may import into any canvas, because the holder applies the edit."""

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers

    async def import_svg(self, request: ImportSvgRequest, call: Call) -> Imported:
        """Replace the canvas's content with the content of an SVG file that passes the limits and the policy.

        All steps together end before the caller's deadline.

        Raises `UnsupportedMedia` for an unknown charset, `Invalid` for a refused file, and `TooLarge` for a file that
        needs too much time or memory. Raises `TooManyRequests` while the caller has too many imports, `Overloaded`
        while too many imports wait in total, and `Unavailable` without a worker. Also raises the errors of `save_edit`.
        """
        ends_at = call.ends_at()
        author = call.signed_in_caller().user_id
        with worker_errors(self._workers, IMPORT_ERRORS):
            async with self._workers.turn(
                author, wait_seconds=QUEUE_SECONDS, deadline=ends_at - SAVE_SECONDS
            ) as worker:
                current = await current_content(self._bus, request.canvas_id)
                imported = await worker.import_svg(request.content, current, request.charset)
        await self._keep_version(request.canvas_id, author, ends_at)
        revision = await save_edit(
            self._bus, request.canvas_id, Edit(author, imported.update), ends_at
        )
        return Imported(
            elements=imported.elements,
            revision=revision,
            dropped=[
                Dropped(what=item.what, reason=item.reason, count=item.count)
                for item in imported.dropped
            ],
        )

    async def _keep_version(self, canvas_id: str, author: str, ends_at: float) -> None:
        """Let the state service keep the content from before the import as a version.

        While the state service is not available, no version is made. The failure is logged, and the import goes on.
        First, an empty edit is saved, because its answer shows that all earlier edits are committed.
        """
        request = VersionBeforeImportRequest(canvas_id=canvas_id, user_id=author)
        try:
            await save_edit(self._bus, canvas_id, Edit(author, EMPTY_UPDATE), ends_at)
            await self._bus.ask(VERSION_BEFORE_IMPORT, request, timeout=VERSION_SECONDS)
        except TEMPORARY_ERRORS as error:
            log.warning("no version was made before an import", code=error.code)
