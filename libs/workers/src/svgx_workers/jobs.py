"""The jobs of a worker process: one method for each function of `svgx_canvas`."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from svgx_canvas.changes.change_elements import Changed
from svgx_canvas.changes.undo import Undone
from svgx_canvas.changes.yjs_client import YjsClient
from svgx_canvas.document.compaction import Snapshot
from svgx_canvas.import_export import Imported
from svgx_canvas.limits import SvgRefused
from svgx_canvas.policy import Dropped
from svgx_workers.errors import WorkerDied
from svgx_workers.frames import Frame, client_value, dropped_of, yjs_client_of


@dataclass(frozen=True, slots=True)
class ExportedContent:
    """The result of `Jobs.export_svg`, `Jobs.export_json` or `Jobs.state`."""

    content: bytes
    left_out: list[Dropped]
    """Parts of the canvas that are stored but not in the content."""


class Jobs(ABC):
    """The functions of `svgx_canvas` as jobs. All methods raise `WorkerError`; all but `run` raise `SvgRefused`."""

    @abstractmethod
    async def run(self, job: Frame) -> Frame:
        """Run a job and return its result, which may be a refusal or a failure."""

    async def import_svg(
        self, svg: bytes, current: bytes | None, charset: str | None = None
    ) -> Imported:
        """Run `svgx_canvas.import_svg` with the default limits."""
        blobs = [svg] if current is None else [svg, current]
        result = await self._result(Frame({"job": "import_svg", "charset": charset}, blobs))
        elements = result.values["elements"]
        assert isinstance(elements, int)
        return Imported(result.blobs[0], elements, dropped_of(result))

    async def export_svg(self, state: bytes, left_out: Sequence[Dropped] = ()) -> ExportedContent:
        """Run `svgx_canvas.export_svg`. The result also lists `left_out`, the parts that `Jobs.state` left out."""
        result = await self._result(_export("export_svg", state, left_out))
        return ExportedContent(result.blobs[0], dropped_of(result))

    async def export_json(self, state: bytes, left_out: Sequence[Dropped] = ()) -> ExportedContent:
        """Run `svgx_canvas.export_json`. The result also lists `left_out`, the parts that `Jobs.state` left out."""
        result = await self._result(_export("export_json", state, left_out))
        return ExportedContent(result.blobs[0], dropped_of(result))

    async def render_png(
        self,
        svg: bytes,
        width: int | None = None,
        height: int | None = None,
        scale: float | None = None,
    ) -> bytes:
        """Run `svgx_canvas.render_png`."""
        values: dict[str, object] = {
            "job": "render_png",
            "width": width,
            "height": height,
            "scale": scale,
        }
        return (await self._result(Frame(values, [svg]))).blobs[0]

    async def compact(
        self,
        snapshot: Snapshot | None,
        updates: Sequence[bytes],
        *,
        outlined: bool = True,
        trusted: bool = False,
    ) -> Snapshot:
        """Run `svgx_canvas.compact`. If a job with `trusted` fails, run it again without `trusted`."""
        values: dict[str, object] = {
            "job": "compact",
            "snapshot": snapshot is not None,
            "outlined": outlined,
            "trusted": trusted,
        }
        try:
            result = await self._result(Frame(values, [*(snapshot or ()), *updates]))
        except WorkerDied:
            if not trusted:
                raise
            return await self.compact(snapshot, updates, outlined=outlined)
        return Snapshot(*result.blobs)

    async def state(self, updates: Sequence[bytes], outline: bytes = b"") -> ExportedContent:
        """Run `svgx_canvas.state`."""
        result = await self._result(Frame({"job": "state"}, [outline, *updates]))
        return ExportedContent(result.blobs[0], dropped_of(result))

    async def replacement(self, current: bytes, wanted: bytes) -> bytes:
        """Run `svgx_canvas.replacement`."""
        return (await self._result(Frame({"job": "replacement"}, [current, wanted]))).blobs[0]

    async def change_elements(
        self,
        current: bytes,
        operations: bytes,
        client: YjsClient | None = None,
        *,
        earlier_step: bytes = b"",
    ) -> Changed:
        """Run `svgx_canvas.change_elements` with the default limits."""
        values: dict[str, object] = {"job": "change_elements", "client": client_value(client)}
        result = await self._result(Frame(values, [current, operations, earlier_step]))
        created, used = result.values["created"], yjs_client_of(result)
        assert isinstance(created, list)
        assert used is not None
        update, step, joined_step = result.blobs
        return Changed(update, created, used, step, joined_step)

    async def undo(self, current: bytes, step: bytes, client: YjsClient | None = None) -> Undone:
        """Run `svgx_canvas.undo` with the default limits."""
        values: dict[str, object] = {"job": "undo", "client": client_value(client)}
        result = await self._result(Frame(values, [current, step]))
        changed, skipped = result.values["changed"], result.values["skipped"]
        used = yjs_client_of(result)
        assert isinstance(changed, list)
        assert isinstance(skipped, list)
        assert used is not None
        update, step_back = result.blobs
        return Undone(update, changed, skipped, used, step_back)

    async def difference(
        self, before: bytes, after: bytes, start: int, limit: int
    ) -> dict[str, object]:
        """Run `svgx_canvas.difference`. Return its JSON as an object."""
        job = Frame({"job": "difference", "start": start, "limit": limit}, [before, after])
        page = json.loads((await self._result(job)).blobs[0])
        assert isinstance(page, dict)
        return page

    async def _result(self, job: Frame) -> Frame:
        """Run a job and return its result. Raises `SvgRefused` for a refusal, and `WorkerDied` for a failure."""
        result = await self.run(job)
        values = result.values
        if "failed" in values:
            raise WorkerDied(str(values["failed"]))
        if "refused" in values:
            limit, actual = values["limit"], values["actual"]
            raise SvgRefused(
                str(values["refused"]),
                str(values["field"]),
                limit if isinstance(limit, int | float) else None,
                actual if isinstance(actual, int) else None,
                str(values["detail"]),
            )
        return result


def _export(job: str, state: bytes, left_out: Sequence[Dropped]) -> Frame:
    items = [[item.what, item.reason, item.count] for item in left_out]
    return Frame({"job": job, "dropped": items}, [state])
