"""Import of SVG files: a worker that can be killed reads the file, and the canvas's holder applies it as one edit."""

from svgx_canvas import SvgRefused
from svgx_common.contract.collab import (
    CANVAS_EDIT,
    CANVAS_SYNC,
    Dropped,
    Edit,
    EditBatch,
    Imported,
    ImportSvgRequest,
    Saved,
    SyncReply,
    SyncRequest,
)
from svgx_common.contract.errors import Internal, Invalid, Overloaded, TooLarge, UnsupportedMedia
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.holder import ask_holder
from svgx_common.messaging.responder import Call
from svgx_common.messaging.wire import decode, encode
from svgx_workers.pool import WorkerDied, Workers, WorkersBusy, WorkerTimeout
from svgx_yjs.structure import EMPTY_STATE_VECTOR

PATIENCE = 45.0
"""Seconds for which each request to the holder is repeated. The operation's time limit may end this earlier."""

ATTEMPT = 20.0
"""Seconds to wait for one answer of the holder."""


class Imports:
    """The imports of one replica. Any replica may import into any canvas, because the holder applies the edit."""

    def __init__(self, bus: Bus, workers: Workers) -> None:
        self._bus = bus
        self._workers = workers

    async def import_svg(self, request: ImportSvgRequest, call: Call) -> Imported:
        """Replace the canvas's content with that of an SVG file that passes the limits and the policy.

        Raises `UnsupportedMedia` for an unknown charset, `Invalid` for a refused file, `TooLarge` for a file that needs
        too much time or memory, `Overloaded` while too many imports wait, and the errors of `ask_holder`.
        """
        canvas_id = request.canvas_id
        current = decode(
            SyncReply,
            await ask_holder(
                self._bus,
                canvas_id,
                CANVAS_SYNC,
                encode(SyncRequest(EMPTY_STATE_VECTOR)),
                patience=PATIENCE,
                attempt=ATTEMPT,
            ),
        )
        try:
            imported = await self._workers.import_svg(
                request.content, current.update, request.charset
            )
        except SvgRefused as refused:
            if refused.field == "charset":
                raise UnsupportedMedia(refused.detail, field="content-type") from None
            raise Invalid(refused.detail, field=refused.field, limit=refused.limit) from None
        except WorkersBusy:
            raise Overloaded("too many imports are waiting", retry_after=5.0) from None
        except (WorkerTimeout, WorkerDied):
            raise TooLarge(
                "the file takes more time or memory to read than an import may use", field="body"
            ) from None
        edit = Edit(call.signed_in().user_id, imported.update)
        saved = decode(
            Saved,
            await ask_holder(
                self._bus,
                canvas_id,
                CANVAS_EDIT,
                encode(EditBatch((edit,))),
                patience=PATIENCE,
                attempt=ATTEMPT,
            ),
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
