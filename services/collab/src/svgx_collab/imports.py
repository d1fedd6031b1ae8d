"""Importing an SVG file: read in a worker that can be killed, applied as one edit through the canvas's holder."""

from svgx_canvas import SvgRefused
from svgx_common.contract.collab import Dropped, Imported, ImportSvgRequest
from svgx_common.contract.errors import Internal, Invalid, Overloaded, TooLarge
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import ask_holder
from svgx_common.messaging.responder import Call
from svgx_common.messaging.wire import (
    Edit,
    decode_saved,
    decode_sync_reply,
    encode_edits,
    encode_sync_request,
)
from svgx_workers.pool import WorkerDied, Workers, WorkersBusy, WorkerTimeout
from svgx_yjs.structure import EMPTY_STATE_VECTOR

PATIENCE = 45.0
"""Seconds to wait for the holder, within the operation's own limit."""


class Imports:
    """Any replica may import into any canvas: what changes goes to the holder like every other edit."""

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers

    async def import_svg(self, request: ImportSvgRequest, call: Call) -> Imported:
        """Replace the content with the file's, once the file has passed the limits and the policy."""
        canvas_id = request.canvas_id
        current = decode_sync_reply(
            await ask_holder(
                self._bus,
                canvas_id,
                "sync",
                encode_sync_request(EMPTY_STATE_VECTOR),
                patience=PATIENCE,
                attempt=20.0,
            )
        )
        try:
            imported = await self._workers.import_svg(request.content, current.update)
        except SvgRefused as refused:
            raise _invalid(refused) from None
        except WorkersBusy:
            raise Overloaded("too many imports are waiting", retry_after=5.0) from None
        except (WorkerTimeout, WorkerDied):
            raise TooLarge(
                "the file takes more time or memory to read than an import may", field="body"
            ) from None
        edit = Edit(call.signed_in().user_id, imported.update)
        saved = decode_saved(
            await ask_holder(
                self._bus, canvas_id, "edit", encode_edits([edit]), patience=PATIENCE, attempt=20.0
            )
        )
        if saved.rejected:
            raise Internal
        return Imported(
            elements=imported.elements,
            revision=saved.revision,
            dropped=[
                Dropped(what=item.what, reason=item.reason, count=item.count)
                for item in imported.dropped
            ],
        )


def _invalid(refused: SvgRefused) -> Invalid:
    return Invalid(refused.detail, field=refused.field, limit=refused.limit)
