"""Canvases as values: the key `canvas_state_{canvas_id}` stands for the saved content of a canvas."""

import json

from svgx_common.contract.operation import Blob
from svgx_common.contract.state import CanvasRequest
from svgx_common.contract.storage.values import CANVAS_PREFIX, Value
from svgx_common.messaging.responder import Call
from svgx_state.canvases import Canvases
from svgx_state.exports import Exports


class CanvasValues:
    """Reads canvases as values. Canvases cannot be written as values."""

    def __init__(self, canvases: Canvases, exports: Exports) -> None:
        self._canvases = canvases
        self._exports = exports

    async def retrieve(self, request: CanvasRequest, call: Call) -> Blob:
        """Return a `Value` with the element JSON of a canvas. Its version is the revision of this content.

        Raises the errors of `Canvases.get` and `Exports.elements`. The content may have megabytes, so its JSON is put
        into the reply as bytes, without being decoded.
        """
        canvas = await self._canvases.get(call.signed_in_caller(), request.canvas_id)
        revision, exported = await self._exports.elements(request.canvas_id, call)
        reply = Value(
            key=f"{CANVAS_PREFIX}{canvas.id}",
            state_type="canvas",
            version=revision,
            updated_at=canvas.updated_at,
            value=None,
            metadata={"name": canvas.name},
        )
        members = reply.model_dump(mode="json", exclude={"value"})
        head = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
        return Blob(
            b"".join([head[:-1], b',"value":', exported, b"}"]), media_type="application/json"
        )
