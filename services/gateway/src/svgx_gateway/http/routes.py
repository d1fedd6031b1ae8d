"""The FastAPI application of the gateway, and its routing by a table of paths."""

import re
from collections.abc import Iterable

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Match, Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """A FastAPI application with the middleware it is given, and no other."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection, without FastAPI's check whether its own telemetry is on. It is off."""
        await Starlette.__call__(self, scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the router, wrapped in the exception handlers and then in the middleware.

        FastAPI's own stack has four more layers, for telemetry, body limits, uploaded files and tracebacks. No route of
        the gateway uses them, and they cost a measurable part of a request (docs/decisions/0022). A handler of
        `Exception` is called within the middleware here, so the middleware also adds its headers to a response with
        status 500.
        """
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for middleware, args, kwargs in reversed(self.user_middleware):
            app = middleware(app, *args, **kwargs)
        return app


class RouteTable(BaseRoute):
    """The HTTP routes of the gateway, as one route of the application.

    Starlette compares a request with one route after the other. The gateway has about forty routes, so this route
    finds a path without parameters in a dictionary, and compares other paths only with templates that have the
    same number of segments.

    Each path is served with and without a trailing slash. A path without parameters has precedence over a
    template, for all methods: `/admin/users/restore` is never the account `restore`.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        self._literals: dict[str, _Path] = {}
        self._templates: dict[int, list[tuple[re.Pattern[str], _Path]]] = {}
        templates: dict[str, _Path] = {}
        for route in self.routes:
            path = route.path.removesuffix("/")
            if not route.param_convertors:
                self._literals.setdefault(path, _Path()).add(route)
                continue
            if path not in templates:
                templates[path] = _Path()
                same_length = self._templates.setdefault(path.count("/"), [])
                same_length.append((compile_path(path)[0], templates[path]))
            templates[path].add(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return a full match for a path in the table, for every method."""
        if scope["type"] != "http":
            return Match.NONE, {}
        path: str = scope["path"].removesuffix("/")
        found = self._literals.get(path)
        if found is not None:
            return Match.FULL, {"endpoint": found, "path_params": {}}
        for pattern, found in self._templates.get(path.count("/"), ()):
            match = pattern.match(path)
            if match is not None:
                return Match.FULL, {"endpoint": found, "path_params": match.groupdict()}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint that `matches` found."""
        await scope["endpoint"](scope, receive, send)


class _Path:
    """The endpoints of one path by method."""

    def __init__(self) -> None:
        self._by_method: dict[str, ASGIApp] = {}

    def add(self, route: Route) -> None:
        for method in route.methods or ():
            self._by_method[method] = route.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._by_method.get(scope["method"])
        if app is None:
            allowed = ", ".join(sorted(self._by_method))
            raise HTTPException(405, headers={"Allow": allowed})
        await app(scope, receive, send)
