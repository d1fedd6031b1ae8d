"""Who may what: every operation, tried by everybody, on what is somebody else's."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from svgx_common.contract import OPERATIONS
from svgx_devstack import DevStack
from tests import leaks
from tests.e2e.clients.api import CANVASES, Api, User, open_api
from tests.e2e.clients.openapi_document import example_request
from tests.limits import HIGH_LIMITS

STRANGERS = ("nobody", "viewer", "editor", "admin", "key")
"""Without a token, by global role, and with an editor's API key. None has to do with the account at stake."""

ACCOUNTS: dict[str, tuple[int, int, int, int, int]] = {
    #                        nobody viewer editor admin key
    "auth.login": (401, 401, 401, 401, 401),  # with a wrong password
    "auth.refresh": (401, 401, 401, 401, 401),  # with a token that never was
    "auth.oidc.login": (404, 404, 404, 404, 404),  # no provider is configured
    "auth.oidc.callback": (404, 404, 404, 404, 404),
    "auth.jwks": (200, 200, 200, 200, 200),
    "auth.me": (401, 200, 200, 200, 200),
    "auth.session.list": (401, 200, 200, 200, 200),
    "auth.session.end": (401, 404, 404, 404, 403),
    "auth.password.change": (401, 403, 403, 403, 403),  # with a wrong old password
    "auth.api_key.create": (401, 403, 403, 201, 403),
    "auth.api_key.list": (401, 403, 403, 200, 403),
    "auth.api_key.end": (401, 404, 404, 204, 403),
    "auth.user.create": (401, 403, 403, 201, 403),
    "auth.user.list": (401, 403, 403, 200, 403),
    "auth.user.get": (401, 403, 403, 200, 403),
    "auth.user.update": (401, 403, 403, 200, 403),
    "auth.user.delete": (401, 403, 403, 204, 403),
    "auth.user.restore": (401, 403, 403, 200, 403),
    "auth.audit.list": (401, 403, 403, 200, 403),
    "gateway.rate_limits.get": (401, 403, 403, 200, 403),
    "gateway.rate_limits.set": (401, 403, 403, 200, 403),
    "gateway.rate_limits.analytics": (401, 403, 403, 200, 403),
    "state.canvas.create": (401, 403, 201, 201, 201),
    "state.canvas.list": (401, 200, 200, 200, 200),
    "auth.logout": (401, 204, 204, 204, 403),
}

ON_A_CANVAS = (
    "nobody",
    "viewer",
    "outsider",
    "reader",
    "drawer",
    "owner",
    "looker",
    "admin",
    "key",
)
"""Strangers as above (`outsider` is an editor), members by their role, and an owner whose account is a viewer's."""

CANVAS: dict[str, tuple[int, int, int, int, int, int, int, int, int]] = {
    #                      nobody viewer outsider reader drawer owner looker admin key
    "state.canvas.get": (401, 403, 403, 200, 200, 200, 200, 200, 403),
    "state.canvas.rename": (401, 403, 403, 403, 200, 200, 403, 200, 403),
    "state.member.get": (401, 403, 403, 200, 200, 200, 200, 200, 403),
    "state.member.set": (401, 403, 403, 403, 403, 200, 403, 200, 403),
    "state.member.remove": (401, 403, 403, 403, 403, 204, 403, 204, 403),
    "state.export": (401, 403, 403, 200, 200, 200, 200, 200, 403),
    "collab.import": (401, 403, 403, 403, 200, 200, 403, 200, 403),
    "state.canvas.delete": (401, 403, 403, 403, 403, 204, 403, 204, 403),
    # Close code, 0 for none.
    "live.join": (4401, 4403, 4403, 0, 0, 0, 0, 0, 4403),
}

PAGES: dict[str, tuple[int, int, int, int, int]] = {
    "/health/": (200, 200, 200, 200, 200),
    "/health/live": (200, 200, 200, 200, 200),
    "/health/ready": (200, 200, 200, 200, 200),
    "/health/summary/": (401, 200, 200, 200, 200),
    "/metrics/": (200, 200, 200, 200, 200),
    "/metrics/prometheus": (200, 200, 200, 200, 200),
    "/openapi.json": (200, 200, 200, 200, 200),
    "/docs": (200, 200, 200, 200, 200),
}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Somebody:
    """A user and how the user shows it."""

    user: User
    token: str
    session_id: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        """For each request."""
        return {"Authorization": f"Bearer {self.token}"}


class Building:
    """The stack, and the people in it."""

    def __init__(self, api: Api, http: httpx.AsyncClient, stack: DevStack) -> None:
        self.api = api
        self.http = http
        self.stack = stack
        self.admin = api.session(stack.admin_username, stack.admin_password)
        self.document: dict[str, Any] = {}

    async def somebody(self, role: str) -> Somebody:
        """A new account, signed in."""
        user = await self.admin.create_user(f"matrix-{role}-{next(_numbers)}", role)
        body = {"username": user.username, "password": user.password}
        tokens = (await self.http.post("/auth/login", json=body)).json()
        leaks.OPAQUE_SECRETS.add(tokens["refresh_token"])
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        sessions = (await self.http.get("/auth/sessions/", headers=headers)).json()["items"]
        return Somebody(user, tokens["access_token"], sessions[0]["id"], tokens["refresh_token"])

    async def key_of(self, owner: Somebody) -> tuple[str, str]:
        """A new API key: its id, and itself."""
        answer = await self.http.post(
            "/auth/api-keys/", json={"name": "key"}, headers=owner.headers
        )
        return str(answer.json()["id"]), str(answer.json()["key"])

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], known: Mapping[str, str]
    ) -> httpx.Response:
        """An operation's example, about these."""
        request = example_request(self.document, method.lower(), path)
        for name, value in known.items():
            path = path.replace(f"{{{name}}}", value)
            for part in ("json", "params"):
                if name in request.get(part, {}):
                    request[part][name] = value
        request["headers"] = {**request.get("headers", {}), **headers}
        return await self.http.request(method, path, **request)

    async def join(self, canvas_id: str, token: str) -> int:
        """Open a canvas; the code with which that was refused, or 0."""
        async with connect(f"{self.api.websocket_url}/{canvas_id}?token={token}") as socket:
            try:
                await socket.send(bytes([0, 0, 1, 0]))  # everything, please
                await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else -1
            return 0


@pytest.fixture(scope="module")
async def building(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Building]:
    """One for the module: limits are set in it."""
    async with (
        DevStack(tmp_path_factory.mktemp("matrix"), settings=HIGH_LIMITS) as stack,
        open_api(stack.url) as api,
        httpx.AsyncClient(base_url=stack.url, timeout=60) as http,
    ):
        building = Building(api, http, stack)
        building.document = (await http.get("/openapi.json")).json()
        yield building
        assert await asyncio.to_thread(leaks.find_leaks, stack) == []


def test_every_operation_has_its_row() -> None:
    """Proves R-ACCESS-11: a new one is in the table, or this fails."""
    operations = {each.name for each in OPERATIONS if each.http is not None}
    assert operations | {"live.join"} == ACCOUNTS.keys() | CANVAS.keys()
    assert not ACCOUNTS.keys() & CANVAS.keys()


async def test_every_page_has_its_row(building: Building) -> None:
    """Proves R-ACCESS-11."""
    operations = {each.http.path for each in OPERATIONS if each.http is not None}
    pages = {path for path in building.document["paths"] if path not in operations}
    assert pages == PAGES.keys()


@pytest.fixture(scope="module")
async def strangers(building: Building) -> dict[str, dict[str, str]]:
    """The same for all tests but those that end sessions."""
    return await callers(building)


async def callers(building: Building) -> dict[str, dict[str, str]]:
    """What strangers send to say who they are."""
    found = {"nobody": dict[str, str]()}
    for role in ("viewer", "editor", "admin"):
        found[role] = (await building.somebody(role)).headers
    _, key = await building.key_of(await building.somebody("editor"))
    return {**found, "key": {"X-API-Key": key}}


def secrets_of(victim: Somebody, canvas: str) -> tuple[str, ...]:
    """What only its owner, and admins, may read."""
    return (victim.user.username, f"{victim.user.username}@example.org", canvas, victim.session_id)


@pytest.mark.parametrize("operation", ACCOUNTS)
async def test_operations_on_accounts(
    building: Building, strangers: dict[str, dict[str, str]], operation: str
) -> None:
    """Proves R-ACCESS-11: by everybody, about somebody else's account; who may not, sees and changes nothing."""
    http = next(each.http for each in OPERATIONS if each.name == operation)
    assert http is not None
    headers = await callers(building) if operation == "auth.logout" else strangers
    for who, expected in zip(STRANGERS, ACCOUNTS[operation], strict=True):
        victim = await building.somebody("editor")
        key_id, key = await building.key_of(victim)
        name = f"secret plan {next(_numbers)}"
        canvas = await building.http.post(CANVASES, json={"name": name}, headers=victim.headers)
        assert canvas.status_code == 201
        new = f"new-{next(_numbers)}"
        known = {
            "user_id": victim.user.id,
            "session_id": victim.session_id,
            "key_id": key_id,
            "provider": "nobody",
        }
        if operation in ("auth.user.create", "auth.user.update"):
            known |= {"username": new, "email": f"{new}@example.org"}
        answer = await building.send(http.method, http.path, headers[who], known)
        assert answer.status_code == expected, (who, answer.text)
        if who != "admin":
            assert not any(each in answer.text for each in secrets_of(victim, name)), who
            me = await building.http.get("/auth/me", headers=victim.headers)
            assert me.json()["username"] == victim.user.username
            by_key = await building.http.get("/auth/me", headers={"X-API-Key": key})
            assert by_key.status_code == 200
        elif operation == "gateway.rate_limits.set":
            # Else the rest of these tests is what it limits.
            await building.admin.request("PUT", http.path, json={})


@pytest.mark.parametrize("operation", CANVAS)
async def test_operations_on_a_canvas(
    building: Building, strangers: dict[str, dict[str, str]], operation: str
) -> None:
    """Proves R-ACCESS-11: by strangers and by members; who may not, sees nothing and changes nothing."""
    headers = {("outsider" if who == "editor" else who): strangers[who] for who in strangers}
    members = {
        name: await building.somebody("viewer" if name == "looker" else "editor")
        for name in ("reader", "drawer", "owner", "looker")
    }
    headers |= {name: member.headers for name, member in members.items()}
    roles = {"reader": "viewer", "drawer": "editor", "owner": "owner", "looker": "owner"}
    for who, expected in zip(ON_A_CANVAS, CANVAS[operation], strict=True):
        maker, guest = await building.somebody("editor"), await building.somebody("viewer")
        name = f"secret plan {next(_numbers)}"
        session = building.api.session_of(maker.user)
        canvas_id = await session.create_canvas(name)
        for each, member in members.items():
            await session.set_member(canvas_id, member.user, roles[each])
        await session.set_member(canvas_id, guest.user, "viewer")
        before = await session.export(canvas_id, "svg")
        if operation == "live.join":
            token = headers[who].get("Authorization", "Bearer ").removeprefix("Bearer ")
            assert await building.join(canvas_id, headers[who].get("X-API-Key", token)) == expected
            continue
        http = next(each.http for each in OPERATIONS if each.name == operation)
        assert http is not None
        known = {"canvas_id": canvas_id, "user_id": guest.user.id}
        answer = await building.send(http.method, http.path, headers[who], known)
        assert answer.status_code == expected, (who, answer.text)
        if expected in (401, 403):
            assert name not in answer.text
            now = await session.canvas(canvas_id)
            assert (now.name, now.role) == (name, "owner")
            assert await session.export(canvas_id, "svg") == before
            path = f"{CANVASES}{canvas_id}/members/{guest.user.id}"
            assert (await session.request("GET", path)).json()["role"] == "viewer"


@pytest.mark.parametrize("page", PAGES)
async def test_pages(building: Building, strangers: dict[str, dict[str, str]], page: str) -> None:
    """Proves R-ACCESS-11."""
    for who, expected in zip(STRANGERS, PAGES[page], strict=True):
        answer = await building.http.get(page, headers=strangers[who])
        assert answer.status_code == expected, (who, answer.text)
