"""The product's HTTP surface, as far as the journeys need it."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests import leaks

CANVASES = "/runtime/canvases/"
_TIMEOUT = 90.0
# A token this close to its end is not used any more: the test may go on for a while.
_SPARE = 120.0


@dataclass(frozen=True, slots=True)
class User:
    """An account and its password."""

    id: str
    username: str
    password: str
    role: str


@dataclass(frozen=True, slots=True)
class Canvas:
    """A canvas as the API shows it."""

    id: str
    name: str
    role: str
    revision: int


class Session:
    """Somebody who is signed in. Signs in again when the token is about to end."""

    def __init__(self, http: httpx.AsyncClient, username: str, password: str) -> None:
        self.username = username
        self._http = http
        self._password = password
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """An access token that lasts a while."""
        if time.monotonic() > self._until:
            login = {"username": self.username, "password": self._password}
            found = _checked(await self._http.post("/auth/login", json=login)).json()
            self._token = str(found["access_token"])
            leaks.OPAQUE.add(found["refresh_token"])
            self._until = time.monotonic() + float(found["expires_in"]) - _SPARE
        return self._token

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request, with the token; the answer may be an error."""
        headers = {"Authorization": f"Bearer {await self.token()}", **options.pop("headers", {})}
        return await self._http.request(method, path, headers=headers, **options)

    async def me(self) -> dict[str, Any]:
        """The account."""
        return _object(await self.request("GET", "/auth/me"))

    async def create_user(self, username: str, role: str = "editor") -> User:
        """A new account; needs an admin."""
        password = f"{leaks.PASSWORD}{username}"
        body = {
            "username": username,
            "email": f"{username}@example.org",
            "password": password,
            "role": role,
        }
        found = _object(await self.request("POST", "/admin/users/", json=body))
        return User(str(found["id"]), username, password, role)

    async def create_canvas(self, name: str) -> str:
        """A new canvas of one's own; returns its id."""
        return str(_object(await self.request("POST", CANVASES, json={"name": name}))["id"])

    async def canvas(self, canvas_id: str) -> Canvas:
        """One canvas."""
        return _canvas(_object(await self.request("GET", f"{CANVASES}{canvas_id}")))

    async def canvases(self) -> list[Canvas]:
        """All canvases this user may see, over all pages."""
        found: list[Canvas] = []
        params: Mapping[str, str] = {}
        while True:
            page = _object(await self.request("GET", CANVASES, params=params))
            found += [_canvas(item) for item in page["items"]]
            if page["next"] is None:
                return found
            params = {"cursor": page["next"]}

    async def delete_canvas(self, canvas_id: str) -> None:
        """Delete a canvas."""
        _checked(await self.request("DELETE", f"{CANVASES}{canvas_id}"))

    async def set_member(self, canvas_id: str, user: User, role: str) -> None:
        """Give a user a role on a canvas."""
        path = f"{CANVASES}{canvas_id}/members/{user.id}"
        _checked(await self.request("PUT", path, json={"role": role}))

    async def import_svg(self, canvas_id: str, svg: bytes) -> dict[str, Any]:
        """Make an SVG file the content."""
        return _object(
            await self.request(
                "PUT",
                f"{CANVASES}{canvas_id}/svg",
                content=svg,
                headers={"Content-Type": "image/svg+xml"},
            )
        )

    async def export(self, canvas_id: str, kind: str) -> bytes:
        """The saved content as `svg`, `png`, `json` or `yjs`."""
        path = f"{CANVASES}{canvas_id}/export"
        return _checked(await self.request("GET", path, params={"format": kind})).content


class Api:
    """The gateway of one stack."""

    def __init__(self, http: httpx.AsyncClient, live: str) -> None:
        self._http = http
        self.live_url = f"{live.replace('http', 'ws', 1)}/runtime/events"

    def session(self, username: str, password: str) -> Session:
        """Somebody who signs in with the first request."""
        return Session(self._http, username, password)

    def of(self, user: User) -> Session:
        """A user who signs in with the first request."""
        return self.session(user.username, user.password)


@asynccontextmanager
async def reach(url: str, live: str | None = None) -> AsyncIterator[Api]:
    """The API at this address; WebSockets go to `live`, if that is another one."""
    # A gateway that was killed leaves dead connections in the pool.
    transport = httpx.AsyncHTTPTransport(retries=2)
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=_TIMEOUT) as http:
        yield Api(http, live or url)


def _checked(response: httpx.Response) -> httpx.Response:
    assert response.is_success, f"{response.request.method} {response.url}: {response.text[:500]}"
    return response


def _object(response: httpx.Response) -> dict[str, Any]:
    found = _checked(response).json()
    assert isinstance(found, dict)
    return found


def _canvas(found: Mapping[str, Any]) -> Canvas:
    return Canvas(found["id"], found["name"], found["role"], found["revision"])
