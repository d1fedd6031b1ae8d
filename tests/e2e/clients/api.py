"""A client for the HTTP operations that end-to-end tests use."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests import leaks
from tests.polling import REQUEST_POLL_SECONDS, pause

CANVASES = "/runtime/canvases/"
SVG_TYPE = {"Content-Type": "image/svg+xml"}
_TIMEOUT = 90.0
"""Seconds that each step of a request may take: the connection, each write, and each read."""
_RENEW_BEFORE = 120.0
"""Seconds for which a returned access token must still be valid, because a test may use the token for a while."""


@dataclass(frozen=True, slots=True)
class User:
    """An account and its password."""

    id: str
    username: str
    password: str
    role: str


@dataclass(frozen=True, slots=True)
class Canvas:
    """A canvas as the API returns it."""

    id: str
    name: str
    role: str
    revision: int


class ApiSession:
    """A client that logs in as one user. It logs in again before its access token expires."""

    def __init__(self, http: httpx.AsyncClient, username: str, password: str) -> None:
        self.username = username
        self._http = http
        self._password = password
        self._token = ""
        self._valid_until = 0.0

    async def access_token(self) -> str:
        """Return an access token that is valid for at least two minutes."""
        if time.monotonic() > self._valid_until:
            login = {"username": self.username, "password": self._password}
            tokens = _checked(await self._http.post("/auth/login", json=login)).json()
            self._token = str(tokens["access_token"])
            leaks.OPAQUE_SECRETS.add(tokens["refresh_token"])
            self._valid_until = time.monotonic() + float(tokens["expires_in"]) - _RENEW_BEFORE
        return self._token

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the access token, and return the response, which may be an error."""
        headers = {
            "Authorization": f"Bearer {await self.access_token()}",
            **options.pop("headers", {}),
        }
        return await self._http.request(method, path, headers=headers, **options)

    async def wait_until_ended(self, path: str) -> dict[str, Any]:
        """Wait until the backup or the restore at this path has ended, and return its record."""
        while (record := _json_object(await self.request("GET", path)))["status"] == "running":
            await pause(REQUEST_POLL_SECONDS)
        return record

    async def me(self) -> dict[str, Any]:
        """Return the user's account."""
        return _json_object(await self.request("GET", "/auth/me"))

    async def create_user(self, username: str, role: str = "editor") -> User:
        """Create an account. The session's user must be an admin."""
        password = f"{leaks.PASSWORD_PREFIX}{username}"
        body = {
            "username": username,
            "email": f"{username}@example.org",
            "password": password,
            "role": role,
        }
        created = _json_object(await self.request("POST", "/admin/users/", json=body))
        return User(str(created["id"]), username, password, role)

    async def create_canvas(self, name: str) -> str:
        """Create a canvas that the user owns, and return its id."""
        return str(_json_object(await self.request("POST", CANVASES, json={"name": name}))["id"])

    async def canvas(self, canvas_id: str) -> Canvas:
        """Return one canvas."""
        return _canvas(_json_object(await self.request("GET", f"{CANVASES}{canvas_id}")))

    async def canvases(self) -> list[Canvas]:
        """Return all canvases that the user may see, from all pages of the list."""
        canvases: list[Canvas] = []
        params: Mapping[str, str] = {}
        while True:
            page = _json_object(await self.request("GET", CANVASES, params=params))
            canvases += [_canvas(item) for item in page["items"]]
            if page["next"] is None:
                return canvases
            params = {"cursor": page["next"]}

    async def delete_canvas(self, canvas_id: str) -> None:
        """Delete a canvas."""
        _checked(await self.request("DELETE", f"{CANVASES}{canvas_id}"))

    async def set_member(self, canvas_id: str, user: User, role: str) -> None:
        """Set a user's role on a canvas."""
        path = f"{CANVASES}{canvas_id}/members/{user.id}"
        _checked(await self.request("PUT", path, json={"role": role}))

    async def import_svg(self, canvas_id: str, svg: bytes) -> dict[str, Any]:
        """Replace the content of a canvas with an SVG file."""
        path = f"{CANVASES}{canvas_id}/svg"
        return _json_object(await self.request("PUT", path, content=svg, headers=SVG_TYPE))

    async def export(self, canvas_id: str, kind: str) -> bytes:
        """Return the saved content of a canvas as `svg`, `png`, `json` or `yjs`."""
        path = f"{CANVASES}{canvas_id}/export"
        return _checked(await self.request("GET", path, params={"format": kind})).content


class Api:
    """A client for the gateway of one stack, without an account."""

    def __init__(self, http: httpx.AsyncClient, websocket_base: str) -> None:
        self._http = http
        self.websocket_url = f"{websocket_base.replace('http', 'ws', 1)}/runtime/events"

    def session(self, username: str, password: str) -> ApiSession:
        """Return a session that logs in with its first request."""
        return ApiSession(self._http, username, password)

    def session_of(self, user: User) -> ApiSession:
        """Return a user's session, which logs in with its first request."""
        return self.session(user.username, user.password)


@asynccontextmanager
async def open_api(url: str, websocket_base: str | None = None) -> AsyncIterator[Api]:
    """Open a client for the gateway at `url`. `websocket_base` is the address for WebSockets, by default `url` too."""
    # Try to connect three times within about half a second, because a killed gateway may be starting again. Requests
    # themselves are not retried.
    transport = httpx.AsyncHTTPTransport(retries=2)
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=_TIMEOUT) as http:
        yield Api(http, websocket_base or url)


def _checked(response: httpx.Response) -> httpx.Response:
    assert response.is_success, f"{response.request.method} {response.url}: {response.text[:500]}"
    return response


def _json_object(response: httpx.Response) -> dict[str, Any]:
    body = _checked(response).json()
    assert isinstance(body, dict)
    return body


def _canvas(fields: Mapping[str, Any]) -> Canvas:
    return Canvas(fields["id"], fields["name"], fields["role"], fields["revision"])
