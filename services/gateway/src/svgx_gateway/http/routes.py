"""The FastAPI application of the gateway, and its routing by a table of paths."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from svgx_common.contract.errors import NotFound
from svgx_common.http.paths import decode_fields, sent_path
from svgx_gateway.http import problems
from svgx_gateway.observability.notes import note_route


class Application(FastAPI):
    """A FastAPI application without the middleware that FastAPI adds by itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection. Do not check whether FastAPI's own telemetry is on, because the gateway turns it off."""
        await Starlette.__call__(self, scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the router, wrapped in the exception handlers and then in the middleware.

        FastAPI's own stack has four more layers, for telemetry, body limits, uploaded files and tracebacks. No route of
        the gateway uses them, and they take a measurable part of a request's time (docs/decisions/0022). In this stack,
        a handler of `Exception` is called within the middleware, so the middleware also adds its headers to a response
        with status 500.
        """
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for middleware, args, kwargs in reversed(self.user_middleware):
            app = middleware(app, *args, **kwargs)
        return app


class RouteTable(BaseRoute):
    """The routes of the gateway, as one route of the application.

    Starlette compares a request with one route after the other. The gateway has more than eighty routes. So this route
    finds a path without parameters in a dictionary, and compares other paths only with templates that have the
    same number of segments.

    Each path is served with and without a trailing slash. A path without parameters has precedence over a
    template, for all methods: `/admin/users/restore` never means the account `restore`. Paths are compared as they were
    sent, and their fields are decoded afterwards: `%2F` is a part of a field, never the end of a segment.
    """

    def __init__(
        self, routes: Iterable[Route], websocket_routes: Iterable[WebSocketRoute] = ()
    ) -> None:
        self.routes = list(routes)
        http: dict[str, _MethodTable] = {}
        for route in self.routes:
            http.setdefault(route.path, _MethodTable()).add(route)
        self._http = _PathTable(http)
        self._websockets = _PathTable({route.path: route.app for route in websocket_routes})

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return a full match for every WebSocket, and for an HTTP request with a path in the table and any method."""
        paths = {"http": self._http, "websocket": self._websockets}.get(scope["type"])
        if paths is None:
            return Match.NONE, {}
        served, fields = paths.find(sent_path(scope), scope.get("method"))
        if served is not None:
            note_route(scope, served.path)
            return Match.FULL, {"endpoint": served.app, "path_params": fields}
        if scope["type"] == "websocket":
            return Match.FULL, {"endpoint": _refuse_websocket, "path_params": {}}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint that `matches` found."""
        await scope["endpoint"](scope, receive, send)


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket of an unknown path before its upgrade. Starlette would send an empty 403."""
    refusal = problems.response(NotFound("no WebSocket has this path"))
    await WebSocket(scope, receive, send).send_denial_response(refusal)


class _ServedPath(NamedTuple):
    """A path or template, and its application."""

    path: str
    app: ASGIApp


class _PathTable:
    """The applications of HTTP or of WebSockets, by path or template."""

    def __init__(self, applications: Mapping[str, ASGIApp]) -> None:
        self._literals: dict[str, _ServedPath] = {}
        self._templates: dict[int, list[tuple[re.Pattern[str], _ServedPath]]] = {}
        """The pattern and the application of each template, by the template's number of slashes."""
        for template, app in applications.items():
            served = _ServedPath(template, app)
            path = template.removesuffix("/")
            if "{" in path:
                same_length = self._templates.setdefault(path.count("/"), [])
                same_length.append((compile_path(path)[0], served))
            else:
                self._literals[path] = served

    def find(
        self, path: str, method: str | None = None
    ) -> tuple[_ServedPath | None, dict[str, str]]:
        """Return the application of a path, or None for an unknown path, and the decoded fields.

        If several templates match the path, return the first one that serves the method. If none serves the method,
        return the first one, so that a 405 has the methods of the path that the OpenAPI document prefers.
        """
        literal = self._literals.get(path)
        if literal is not None:
            return literal, {}
        first: tuple[_ServedPath | None, dict[str, str]] = None, {}
        for pattern, served in self._templates.get(path.count("/"), ()):
            match = pattern.match(path)
            if match is None:
                continue
            found = served, decode_fields(match.groupdict())
            if not isinstance(served.app, _MethodTable) or served.app.serves(method):
                return found
            first = first if first[0] is not None else found
        return first


class _MethodTable:
    """The endpoints of one path by method."""

    def __init__(self) -> None:
        self._by_method: dict[str, ASGIApp] = {}

    def add(self, route: Route) -> None:
        for method in route.methods or ():
            self._by_method[method] = route.app

    def serves(self, method: str | None) -> bool:
        """Return whether the path has an endpoint for a method."""
        return method in self._by_method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._by_method.get(scope["method"])
        if app is None:
            allowed = ", ".join(sorted(self._by_method))
            raise HTTPException(405, headers={"Allow": allowed})
        await app(scope, receive, send)
