"""Serve an open WebSocket after the ASGI application has returned.

A connection lasts for hours. While the application runs, each layer of middleware keeps a coroutine, which takes 0.6 kB
of memory. So the application returns after the handshake, and the server then calls the function that serves the
connection.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

_AFTERWARDS = "svgx.afterwards"
"""The key of the `_DeferredCalls` object in the ASGI scope."""

Serve = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _DeferredCalls:
    """The function to call after the application has returned, and the callbacks for the end of the connection.

    The callbacks run even if `serve` is None, or if an error ends the connection.
    """

    serve: Serve | None = None
    on_end: list[Callable[[], None]] = field(default_factory=list)


async def run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the application, and then the function that it has given to `serve_afterwards`."""
    afterwards = scope[_AFTERWARDS] = _DeferredCalls()
    try:
        await app(scope, receive, send)
        # The scope must not refer to the function any more, because the function refers to the scope. Such a cycle
        # would keep the connection's memory in use until the garbage collector runs.
        serve, afterwards.serve = afterwards.serve, None
        if serve is not None:
            await serve()
    finally:
        for callback in afterwards.on_end:
            callback()


async def serve_afterwards(scope: Scope, serve: Serve, on_end: Callable[[], None]) -> None:
    """Let the server call `serve` after the application has returned, and `on_end` at the end of the connection.

    With a server that does not use `run`, call both now.
    """
    afterwards: _DeferredCalls | None = scope.get(_AFTERWARDS)
    if afterwards is not None:
        afterwards.serve = serve
        afterwards.on_end.append(on_end)
        return
    try:
        await serve()
    finally:
        on_end()


def call_at_end(scope: Scope, callback: Callable[[], None]) -> None:
    """Call `callback` at the end of the connection, or now if `serve_afterwards` was given no function."""
    afterwards: _DeferredCalls | None = scope.get(_AFTERWARDS)
    if afterwards is not None and afterwards.serve is not None:
        afterwards.on_end.append(callback)
    else:
        callback()
