"""A state service that holds its answers back until it gets a message. Run it with `python -m` and this module's name.

It reports its events on `access` channels, because a state service may publish there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from svgx_common import runtime
from svgx_common.contract import operations_of
from svgx_common.contract.errors import NotFound
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED, JOURNAL_LOAD, LoadRequest
from svgx_common.messaging.responder import Call
from svgx_common.runtime import Runtime, Service
from svgx_common.settings import ServiceSettings
from tests.polling import pause

log = structlog.get_logger(__name__)

RELEASE = "svgx.state.test.release"
"""The subject of a message that releases all answers."""

BREAK = "svgx.state.test.break"
"""The subject of a message that makes the service send too many bytes; NATS then closes the connection."""

EVENTS = "svgx.canvas.*.access"
"""The subjects of the events `arrived`, `draining` and `handing-over`. An event's name replaces the canvas id."""


class BlockingSettings(ServiceSettings):
    """The settings of the blocking service.

    `serve_pages` adds an HTTP application with one page. `block_drain` makes the drain block for ever.
    With `wait_for_loss`, the service waits at its start until the connection to NATS is lost.
    `metrics_port` is a separate port for the metrics.
    """

    serve_pages: bool = False
    metrics_port: int | None = None
    block_drain: bool = False
    wait_for_loss: bool = False


@contextlib.asynccontextmanager
async def build(runtime: Runtime[BlockingSettings]) -> AsyncIterator[Service]:
    """Build the service. Loading the journal blocks; every other operation answers `not_found`.

    The answer has `LoadRequest.after` bytes, or is `done` if `after` is 0.
    """
    bus = runtime.bus
    released = asyncio.Event()

    async def release(_: str, __: bytes) -> None:
        released.set()

    async def break_connection(_: str, __: bytes) -> None:
        # nats-py limits only the payload; the server also counts the headers.
        half = 600 * 1024
        await bus.connection.publish(
            CANVAS_ACCESS_CHANGED.subject_of(canvas_id="any"),
            b"x" * half,
            headers={"Large": "x" * half},
        )

    async def report(event: str) -> None:
        await bus.publish(CANVAS_ACCESS_CHANGED.subject_of(canvas_id=event), b"")

    async def before_drain() -> None:
        await report("draining")
        if runtime.settings.block_drain:
            await asyncio.Event().wait()

    async def load(request: LoadRequest, _: Call) -> Blob:
        await report("arrived")
        await released.wait()
        return Blob(b"x" * request.after or b"done")

    async def find_nothing(_: Any, __: Call) -> Any:
        raise NotFound

    async def page(_: Request) -> Response:
        await report("arrived")
        await released.wait()
        await bus.settle()
        return PlainTextResponse("done")

    await bus.listen(RELEASE, release)
    await bus.listen(BREAK, break_connection)
    for operation in operations_of("state"):
        runtime.responder.answer(operation, load if operation is JOURNAL_LOAD else find_nothing)
    if runtime.settings.wait_for_loss:
        log.info("waiting for the loss of nats")
        while bus.connected:
            await pause()
    yield Service(
        asgi=Starlette(routes=[Route("/page", page)]) if runtime.settings.serve_pages else None,
        before_drain=before_drain,
        drain=lambda: report("handing-over"),
    )


if __name__ == "__main__":
    runtime.run(
        "state", BlockingSettings, build, metrics_port=lambda settings: settings.metrics_port
    )
