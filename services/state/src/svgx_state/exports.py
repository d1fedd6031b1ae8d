"""Exports: a canvas's committed content as a file."""

import re
import unicodedata

from svgx_canvas.workers import Workers
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import ExportFormat, ExportRequest
from svgx_state.journal import Journal

_MEDIA_TYPES = {
    ExportFormat.SVG: "image/svg+xml",
    ExportFormat.PNG: "image/png",
    ExportFormat.JSON: "application/json",
    ExportFormat.YJS: "application/octet-stream",
}
_EXTENSIONS = {
    ExportFormat.SVG: "svg",
    ExportFormat.PNG: "png",
    ExportFormat.JSON: "json",
    ExportFormat.YJS: "yjs",
}


class Exports:
    """Reads the journal and leaves the work to worker processes, which can be killed."""

    def __init__(self, journal: Journal, workers: Workers) -> None:
        self._journal = journal
        self._workers = workers

    async def export(self, request: ExportRequest, name: str) -> Blob:
        """The canvas, called `name`, in the format asked for.

        Raises `NotFound`; `Invalid` or `TooLarge` when the content or the picture is over a limit; `Unavailable`.
        """
        content = await self._journal.load(request.canvas_id)
        state = await self._workers.compact(None, content.updates)
        return Blob(
            await self._convert(state, request),
            _MEDIA_TYPES[request.format],
            filename(name, _EXTENSIONS[request.format]),
        )

    async def _convert(self, state: bytes, request: ExportRequest) -> bytes:
        match request.format:
            case ExportFormat.YJS:
                return state
            case ExportFormat.SVG:
                return await self._workers.export_svg(state)
            case ExportFormat.JSON:
                return await self._workers.export_json(state)
            case ExportFormat.PNG:
                svg = await self._workers.export_svg(state)
                return await self._workers.render_png(
                    svg, request.width, request.height, request.scale
                )


def filename(name: str, extension: str) -> str:
    """A file name that every system and header takes, as near to `name` as ASCII letters and digits come."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9]+", "-", ascii_name).strip("-")[:80].strip("-")
    return f"{stem or 'canvas'}.{extension}"
