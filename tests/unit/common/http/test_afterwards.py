"""The serving of a WebSocket after the application has returned."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from svgx_common.http import afterwards
from svgx_common.http.afterwards import call_at_end, serve_afterwards


async def unused(*_: Any) -> Any:
    """Stand in for `receive` and `send`, which are never called."""
    raise AssertionError


class Layers:
    """An application with one layer of middleware. `events` are the steps in their order."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.may_end = asyncio.Event()
        self.is_served = asyncio.Event()
        self._error = error

    async def middleware(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the return of the application, and the end of the connection."""
        try:
            await self._endpoint(scope, receive, send)
        finally:
            self.events.append("returned")
            call_at_end(scope, lambda: self.events.append("noted"))
        if self._error is not None:
            raise self._error

    async def _endpoint(self, scope: Scope, _: Receive, __: Send) -> None:
        await serve_afterwards(scope, self._serve, lambda: self.events.append("freed"))

    async def _serve(self) -> None:
        self.events.append("served")
        self.is_served.set()
        await self.may_end.wait()


async def test_connection_is_served_after_the_middleware_has_returned() -> None:
    """The callbacks run at the end of the connection, in their order. Proves R-SOCKET-7."""
    layers = Layers()
    running = asyncio.create_task(afterwards.run(layers.middleware, {}, unused, unused))
    async with asyncio.timeout(10):
        await layers.is_served.wait()
        assert layers.events == ["returned", "served"]
        layers.may_end.set()
        await running
    assert layers.events == ["returned", "served", "freed", "noted"]


async def test_callbacks_run_when_the_connection_is_cancelled() -> None:
    """A stopping gateway cancels the task of a connection. Proves R-SOCKET-7."""
    layers = Layers()
    running = asyncio.create_task(afterwards.run(layers.middleware, {}, unused, unused))
    async with asyncio.timeout(10):
        await layers.is_served.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert layers.events[-2:] == ["freed", "noted"]


async def test_callbacks_run_when_the_middleware_fails() -> None:
    """The connection is not served, but both callbacks run. Proves R-SOCKET-7."""
    layers = Layers(error=ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await afterwards.run(layers.middleware, {}, unused, unused)
    assert layers.events == ["returned", "freed", "noted"]


async def test_another_server_serves_the_connection_within_the_application() -> None:
    """Under a server that does not call `run`, the application returns after the connection ends. Proves R-SOCKET-7."""
    layers = Layers()
    layers.may_end.set()
    await layers.middleware({}, unused, unused)
    assert layers.events == ["served", "freed", "returned", "noted"]


class Socket:
    """A socket that refers to its scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def serve(self) -> None:
        """End the connection at once."""


async def test_memory_of_a_connection_is_freed_at_its_end() -> None:
    """No reference cycle keeps the socket until the garbage collector runs. Proves R-SOCKET-7."""
    sockets: list[weakref.ref[Socket]] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        socket = Socket(scope)
        sockets.append(weakref.ref(socket))
        await serve_afterwards(scope, socket.serve, lambda: None)

    gc.disable()
    try:
        await afterwards.run(app, {}, unused, unused)
        assert sockets[0]() is None
    finally:
        gc.enable()
