"""Exports: a canvas's committed content as a file."""

import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager

import structlog

from svgx_canvas import Dropped, SvgRefused
from svgx_common.contract.errors import (
    Invalid,
    Overloaded,
    SvgxError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import ExportFormat, ExportRequest
from svgx_common.messaging.responder import Call
from svgx_state.journal import Journal
from svgx_workers.errors import AccountBusy, WorkerDied, WorkerError, WorkersBusy, WorkerTimeout
from svgx_workers.jobs import Exported
from svgx_workers.pool import Turn, Workers

log = structlog.get_logger(__name__)

PATIENCE = 20.0
"""Seconds that an export waits for a worker. Together with a worker's time limit, this is less than the
operation's limit."""

MARGIN = 2.0
"""Seconds that the worker leaves for the answer before the caller's deadline."""

RETRY_AFTER = 2.0
"""Seconds after which a caller may try again, when too many exports wait."""

MAX_LEFT_OUT = 20
"""Kinds that the header of an export names. The JSON export names more."""

_NOT_IN_HEADER = re.compile(r"[^ !#-\[\]-~]")
_REQUEST_FIELDS = ("width", "height", "scale")
"""Fields of the request that can be over a limit."""
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
"""Format characters that belong to the spelling of Persian, of Indian languages and of emoji."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that have no shape."""

_NOT_AT_ENDS = " .-\u200c\u200d"
_MAX_STEM_BYTES = 200
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]", re.IGNORECASE)
"""File names that Windows reserves, with any extension."""


class Exports:
    """The exports of one replica. The content comes from the journal, and worker processes convert it."""

    def __init__(self, journal: Journal, workers: Workers) -> None:
        self._journal = journal
        self._workers = workers

    async def export(self, request: ExportRequest, name: str, call: Call) -> Blob:
        """Return the requested canvas in the requested format. The file's name is made from `name`, the canvas's name.

        Raises `NotFound` for an unknown canvas, `TooLarge` or `Invalid` when the content or the picture is over a
        limit, `TooManyRequests` while too many exports of the caller wait, and `Overloaded` while too many exports of
        all callers wait.
        """
        with self._worker_errors(request.canvas_id):
            async with self._turn(call) as worker:
                # The content is loaded when a worker is free, so that waiting exports take no memory.
                content = await self._journal.load(request.canvas_id)
                state = await worker.state(content.updates)
                exported = await _convert(worker, state, request)
        name = filename(name, _EXTENSIONS[request.format])
        left_out = left_out_header(exported.left_out)
        return Blob(exported.content, _MEDIA_TYPES[request.format], name, left_out)

    async def elements(self, canvas_id: str, call: Call) -> tuple[int, bytes]:
        """Return the revision of a canvas and its content then, as element JSON. Raises as `export` does."""
        with self._worker_errors(canvas_id):
            async with self._turn(call) as worker:
                content = await self._journal.load(canvas_id)
                state = await worker.state(content.updates)
                exported = await worker.export_json(state.content, state.left_out)
        return content.revision, exported.content

    def _turn(self, call: Call) -> AbstractAsyncContextManager[Turn]:
        """Return the caller's turn at a worker."""
        deadline = time.monotonic() + call.deadline - time.time() - MARGIN
        return self._workers.turn(call.signed_in().user_id, patience=PATIENCE, deadline=deadline)

    @contextmanager
    def _worker_errors(self, canvas_id: str) -> Iterator[None]:
        """Translate errors of the workers into errors of the contract. A job that killed its worker is not repeated."""
        try:
            yield
        except SvgRefused as refusal:
            raise refusal_error(refusal) from None
        except AccountBusy:
            limit = self._workers.turns_each
            raise TooManyRequests(
                f"at most {limit} exports of one account at a time, and each waits {PATIENCE:g} s at most; "
                "try again when the others have ended",
                limit=limit,
                retry_after=RETRY_AFTER,
            ) from None
        except WorkersBusy:
            raise Overloaded("too many exports are waiting", retry_after=RETRY_AFTER) from None
        except WorkerTimeout:
            log.warning("an export took too long", canvas_id=canvas_id)
            raise Invalid(
                "the content takes too long to export; make it simpler or the picture smaller",
                field="content",
                limit=f"{self._workers.timeout_seconds:g} s",
            ) from None
        except WorkerDied as error:
            # The content is the cause, so the error does not count as a failure of the service.
            log.warning("an export ended its worker", canvas_id=canvas_id, error=str(error))
            raise TooLarge(
                "the export could not be finished, usually because memory ran out; "
                "a smaller picture or simpler content may help",
                field="content",
                limit=self._workers.memory_bytes or None,
            ) from None
        except WorkerError as error:
            log.warning("no worker is available", canvas_id=canvas_id, error=str(error))
            raise Unavailable("exports are not available at present; try again") from None


async def _convert(worker: Turn, state: Exported, request: ExportRequest) -> Exported:
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
            return Exported(png, svg.left_out)


def left_out_header(items: Sequence[Dropped]) -> str | None:
    """Return the header that names everything that an export leaves out, or None if it leaves out nothing.

    The header is a list of strings with parameters (RFC 9651): `"image@href";reason="attribute_length";count=1`. It has
    the `MAX_LEFT_OUT` most frequent kinds; further ones are counted together. Characters that a header cannot have, and
    quotation marks, become question marks.
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

    Characters that a system reserves become hyphens. Control characters and characters that change the direction of
    text vanish, because they could hide the extension. The name has at most 200 bytes before its extension. A name that
    Windows reserves gets the prefix `canvas-`.
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
    """Return the start of a text with at most `limit` bytes in UTF-8. A character keeps the marks after it."""
    if len(text.encode("utf-8")) <= limit:
        return text
    end = len(text.encode("utf-8")[:limit].decode("utf-8", "ignore"))
    while end > 0 and (_continues(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end]


def _continues(character: str) -> bool:
    """Return whether a character changes the one before it: a mark, a joiner or a skin tone."""
    return (
        character in _JOINERS
        or unicodedata.category(character).startswith("M")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def refusal_error(refusal: SvgRefused) -> SvgxError:
    """Return the contract's error for a refusal of the canvas library.

    Content over a limit is `TooLarge`. All other refusals, such as a requested size over its limit, are `Invalid`.
    """
    over_limit = refusal.code == "too_large" and refusal.field not in _REQUEST_FIELDS
    kind = TooLarge if over_limit else Invalid
    return kind(refusal.detail, field=refusal.field, limit=refusal.limit)
