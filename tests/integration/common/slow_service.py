"""A state service whose answers wait until they are let go, as a process: `python -m` this module.

What happens in it is told on `access` channels, because these a state service may publish to.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from svgx_common import runtime
from svgx_common.contract import operations_of, subjects
from svgx_common.contract.errors import NotFound
from svgx_common.contract.operation import Blob
from svgx_common.contract.state import JOURNAL_LOAD, LoadRequest
from svgx_common.messaging.responder import Call
from svgx_common.runtime import Runtime, Service
from svgx_common.settings import ServiceSettings

RELEASE = "svgx.state.test.release"
"""A message on this subject lets all answers go."""

BREAK = "svgx.state.test.break"
"""A message on this subject makes it send what NATS answers by closing the connection."""

TOLD = "svgx.canvas.*.access"


class SlowSettings(ServiceSettings):
    """With `serve_pages` it has an application of its own behind its port; with `linger` its drain does not end."""

    serve_pages: bool = False
    linger: bool = False


@contextlib.asynccontextmanager
async def build(runtime: Runtime[SlowSettings]) -> AsyncIterator[Service]:
    """Loading the journal is slow; nothing else is found."""
    bus = runtime.bus
    released = asyncio.Event()

    async def release(_: str, __: bytes) -> None:
        released.set()

    async def break_connection(_: str, __: bytes) -> None:
        # nats-py checks the payload only; the server counts the headers too.
        half = 600 * 1024
        await bus.connection.publish(
            subjects.canvas("any", "access"), b"x" * half, headers={"Large": "x" * half}
        )

    async def tell(what: str) -> None:
        await bus.publish(subjects.canvas(what, "access"), b"")

    async def drain() -> None:
        await tell("draining")
        if runtime.settings.linger:
            await asyncio.Event().wait()

    async def load(_: LoadRequest, __: Call) -> Blob:
        await tell("arrived")
        await released.wait()
        return Blob(b"done")

    async def find_nothing(_: Any, __: Call) -> Any:
        raise NotFound

    async def page(_: Request) -> Response:
        await tell("arrived")
        await released.wait()
        await bus.settle()
        return PlainTextResponse("done")

    await bus.listen(RELEASE, release)
    await bus.listen(BREAK, break_connection)
    for operation in operations_of("state"):
        runtime.responder.answer(operation, load if operation is JOURNAL_LOAD else find_nothing)
    yield Service(
        asgi=Starlette(routes=[Route("/page", page)]) if runtime.settings.serve_pages else None,
        before_drain=drain,
        drain=lambda: tell("handing-over"),
    )


if __name__ == "__main__":
    runtime.run("state", SlowSettings, build)
