"""Exports: a canvas's committed content as a file."""

import re
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from svgx_canvas import Dropped
from svgx_common.contract.errors import Forbidden, Invalid
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import Content, ExportFormat, ExportRequest
from svgx_common.messaging.responder import Call
from svgx_state.history.past import Past
from svgx_state.history.versions import Versions
from svgx_state.journal import Journal
from svgx_state.worker_errors import WORKER_WAIT_SECONDS, worker_errors
from svgx_workers.jobs import ExportedContent
from svgx_workers.pool import Turn, Workers

MARGIN_SECONDS = 2.0
"""Seconds from the time limit of the worker to the caller's deadline. The answer is sent in this time."""

MAX_LEFT_OUT = 20
"""Largest number of kinds of left-out content that the header of an export names. The JSON export names more."""

_NOT_IN_HEADER = re.compile(r"[^ !#-\[\]-~]")
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

_RESERVED = re.compile(r"""[\x00-\x1f\x7f-\x9f<>:"/\\|?*]+""")
"""Characters that Windows, macOS or Linux do not allow in a file name."""

_JOINERS = "\u200c\u200d"
"""Invisible characters that are needed to write Persian, Indian languages and emoji."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that are not drawn."""

_NOT_AT_ENDS = " .-\u200c\u200d"
_MAX_STEM_BYTES = 200
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]", re.IGNORECASE)
"""File names that Windows reserves, with any extension."""


class Exports:
    """The exports of one replica. The content comes from the journal, and worker processes convert it."""

    def __init__(self, journal: Journal, past: Past, versions: Versions, workers: Workers) -> None:
        self._journal = journal
        self._past = past
        self._versions = versions
        self._workers = workers

    async def export(self, request: ExportRequest, name: str, call: Call) -> Blob:
        """Return the requested canvas in the requested format. The file's name is made from `name`, the canvas's name.

        Raises:

        - `NotFound` for an unknown canvas or version, and `Forbidden` for a visitor that asks for the past.
        - `Invalid` for a time outside the canvas's known past, for a time together with a version, and for a scale
          together with a side of the picture.
        - `TooLarge` or `Invalid` when the content or the picture is over a limit.
        - `TooManyRequests` while too many of the caller's jobs wait for a worker, and `Overloaded` while too many jobs
          of all callers wait.
        """
        if call.signed_in_caller().is_visitor and (request.at or request.version) is not None:
            raise Forbidden("a share link shows the present only; log in to see the past")
        if request.scale is not None and (request.width or request.height):
            raise Invalid("scale: give a scale or a side, not both", field="scale")
        with worker_errors(self._workers, request.canvas_id, "exports"):
            async with self._turn(call) as worker:
                # The content is loaded when a worker is free, so that waiting exports take no memory.
                content = await self._load(request)
                state = await worker.state(content.updates, content.outline)
                exported = await _convert(worker, state, request)
        name = filename(name, _EXTENSIONS[request.format])
        left_out = left_out_header(exported.left_out)
        return Blob(exported.content, _MEDIA_TYPES[request.format], name, left_out)

    async def elements(self, canvas_id: str, call: Call) -> tuple[int, bytes]:
        """Return the newest revision of a canvas, and its content as element JSON. Raises the errors of `export`."""
        with worker_errors(self._workers, canvas_id, "exports"):
            async with self._turn(call) as worker:
                content = await self._journal.load(canvas_id)
                state = await worker.state(content.updates, content.outline)
                exported = await worker.export_json(state.content, state.left_out)
        return content.revision, exported.content

    def _turn(self, call: Call) -> AbstractAsyncContextManager[Turn]:
        """Return a context manager that waits for a worker and keeps it for the caller's jobs."""
        deadline = call.ends_at() - MARGIN_SECONDS
        return self._workers.turn(
            call.signed_in_caller().user_id, wait_seconds=WORKER_WAIT_SECONDS, deadline=deadline
        )

    async def _load(self, request: ExportRequest) -> Content:
        """Return the canvas's content at present, at a past time or in a version."""
        if request.at is not None and request.version is not None:
            raise Invalid("at: give a time or a version, not both", field="at")
        if request.version is not None:
            return await self._versions.content(request.canvas_id, request.version)
        if request.at is not None:
            moment = await self._past.moment(request.canvas_id, request.at)
            return await self._past.content(request.canvas_id, moment.revision)
        return await self._journal.load(request.canvas_id)


async def _convert(worker: Turn, state: ExportedContent, request: ExportRequest) -> ExportedContent:
    match request.format:
        case ExportFormat.YJS:
            return state
        case ExportFormat.SVG:
            return await worker.export_svg(state.content, state.left_out)
        case ExportFormat.JSON:
            return await worker.export_json(state.content, state.left_out)
        case ExportFormat.PNG:
            svg = await worker.export_svg(state.content, state.left_out)
            png = await worker.render_png(svg.content, request.width, request.height, request.scale)
            return ExportedContent(png, svg.left_out)


def left_out_header(items: Sequence[Dropped]) -> str | None:
    """Return the header that names the kinds of content that an export leaves out, or None if it leaves out nothing.

    The header is a list of strings with parameters (RFC 9651): `"image@href";reason="attribute_length";count=1`. It
    names the `MAX_LEFT_OUT` most frequent kinds; all other kinds are counted together as `others`. Characters that a
    header cannot have, quotation marks and backslashes become question marks.
    """
    parts = [
        f'"{_NOT_IN_HEADER.sub("?", item.what[:64])}";reason="{item.reason}";count={item.count}'
        for item in items[:MAX_LEFT_OUT]
    ]
    if others := sum(item.count for item in items[MAX_LEFT_OUT:]):
        parts.append(f'"others";reason="others";count={others}')
    return ", ".join(parts) or None


def filename(name: str, extension: str) -> str:
    """Return a file name like `name` that all systems accept.

    Control characters and characters that a system reserves become hyphens. Other invisible characters are removed,
    because some change the direction of text and could hide the extension. The name has at most 200 bytes before its
    extension. A name that Windows reserves gets the prefix `canvas-`.
    """
    text = "".join(
        character
        for character in _RESERVED.sub("-", unicodedata.normalize("NFC", name))
        if character in _JOINERS or unicodedata.category(character) not in _INVISIBLE
    )
    stem = _cut(re.sub(r"\s+", " ", text).strip(_NOT_AT_ENDS), _MAX_STEM_BYTES)
    stem = stem.rstrip(_NOT_AT_ENDS) or "canvas"
    if _DEVICE.fullmatch(stem.partition(".")[0].rstrip()):
        stem = _cut(f"canvas-{stem}", _MAX_STEM_BYTES).rstrip(_NOT_AT_ENDS)
    return f"{stem}.{extension}"


def _cut(text: str, limit: int) -> str:
    """Return the start of a text with at most `limit` bytes in UTF-8.

    The start never ends between a character and the marks after it.
    """
    if len(text.encode("utf-8")) <= limit:
        return text
    end = len(text.encode("utf-8")[:limit].decode("utf-8", "ignore"))
    while end > 0 and (_continues(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end]


def _continues(character: str) -> bool:
    """Return whether a character modifies the character before it: a mark, a joiner or a skin tone."""
    return (
        character in _JOINERS
        or unicodedata.category(character).startswith("M")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )
