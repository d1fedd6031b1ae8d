"""Access to each operation by each role, tried on accounts and canvases of other users."""

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
from tests.e2e.clients.api import CANVASES, Api, ApiSession, User, open_api
from tests.e2e.clients.openapi_document import example_request

CALLERS = ("anonymous", "viewer", "editor", "admin", "key", "visitor")
"""Callers without a token, with each account role, with an editor's API key, and with a share link for editors.

None of them owns a tested object.
"""

ACCOUNT_STATUSES: dict[str, tuple[int, int, int, int, int, int]] = {
    #                     anonymous viewer editor admin key visitor
    "auth.login": (401, 401, 401, 401, 401, 401),  # of an unknown user
    "auth.refresh": (401, 401, 401, 401, 401, 401),  # with an unknown token
    "auth.oidc.login": (404, 404, 404, 404, 404, 404),  # no provider is configured
    "auth.oidc.callback": (404, 404, 404, 404, 404, 404),
    "auth.jwks": (200, 200, 200, 200, 200, 200),
    "auth.me": (401, 200, 200, 200, 200, 403),
    "auth.session.list": (401, 200, 200, 200, 200, 403),
    "auth.session.end": (401, 404, 404, 404, 403, 403),
    "auth.password.change": (401, 403, 403, 403, 403, 403),  # with a wrong old password
    "auth.api_key.create": (401, 403, 403, 201, 403, 403),
    "auth.api_key.list": (401, 403, 403, 200, 403, 403),
    "auth.api_key.end": (401, 404, 404, 204, 403, 403),
    "auth.user.create": (401, 403, 403, 201, 403, 403),
    "auth.user.list": (401, 403, 403, 200, 403, 403),
    "auth.user.get": (401, 403, 403, 200, 403, 403),
    "auth.user.update": (401, 403, 403, 200, 403, 403),
    "auth.user.delete": (401, 403, 403, 204, 403, 403),
    "auth.user.restore": (401, 403, 403, 200, 403, 403),
    "auth.user.erase": (401, 403, 403, 200, 403, 403),
    "auth.user.session.list": (401, 403, 403, 200, 403, 403),
    "auth.user.session.end": (401, 403, 403, 204, 403, 403),
    "auth.user.session.end_all": (401, 403, 403, 204, 403, 403),
    "state.member.canvases": (401, 403, 403, 200, 403, 403),
    "state.canvas.largest": (401, 403, 403, 200, 403, 403),
    "state.canvas.purge": (401, 403, 403, 404, 403, 403),  # of an unknown canvas
    "gateway.connection.list": (401, 403, 403, 200, 403, 403),
    "gateway.replica.drain": (401, 403, 403, 404, 403, 403),  # of an unknown replica
    "auth.audit.list": (401, 403, 403, 200, 403, 403),
    "gateway.rate_limits.get": (401, 403, 403, 200, 403, 403),
    "gateway.rate_limits.set": (401, 403, 403, 200, 403, 403),
    "gateway.rate_limits.analytics": (401, 403, 403, 200, 403, 403),
    "state.quotas.get": (401, 403, 403, 200, 403, 403),
    "state.quotas.set": (401, 403, 403, 200, 403, 403),
    "state.usage.own": (401, 200, 200, 200, 200, 403),
    "state.usage.user": (401, 403, 403, 200, 403, 403),
    "state.usage.top": (401, 403, 403, 200, 403, 403),
    "state.webhook.create": (401, 403, 403, 201, 403, 403),
    "state.webhook.list": (401, 403, 403, 200, 403, 403),
    # of an unknown webhook
    "state.webhook.get": (401, 403, 403, 404, 403, 403),
    "state.webhook.update": (401, 403, 403, 404, 403, 403),
    "state.webhook.rotate": (401, 403, 403, 404, 403, 403),
    "state.webhook.delete": (401, 403, 403, 404, 403, 403),
    "state.webhook.test": (401, 403, 403, 404, 403, 403),
    "state.webhook.deliveries": (401, 403, 403, 404, 403, 403),
    "state.webhook.redeliver": (401, 403, 403, 404, 403, 403),
    "state.canvas.create": (401, 403, 201, 201, 201, 403),
    "state.canvas.list": (401, 200, 200, 200, 200, 403),
    "state.value.retrieve": (401, 404, 404, 404, 404, 403),  # of a key without a value
    "state.value.delete": (401, 404, 404, 404, 404, 403),
    "state.value.persist": (401, 200, 200, 200, 200, 403),  # for the caller's own account
    "state.value.list": (401, 200, 200, 200, 200, 403),
    "state.backup.create": (401, 403, 403, 202, 403, 403),
    "state.backup.list": (401, 403, 403, 200, 403, 403),
    "state.backup.get": (401, 403, 403, 404, 403, 403),
    "state.backup.verify": (401, 403, 403, 404, 403, 403),
    "state.backup.delete": (401, 403, 403, 404, 403, 403),
    "state.restore.create": (401, 403, 403, 404, 403, 403),
    "state.restore.list": (401, 403, 403, 200, 403, 403),
    "state.restore.get": (401, 403, 403, 404, 403, 403),
    "state.restore.canvases": (401, 403, 403, 404, 403, 403),
    "auth.logout": (401, 204, 204, 204, 403, 403),
}

CANVAS_CALLERS = (
    "anonymous",
    "viewer",
    "editor",
    "canvas viewer",
    "canvas editor",
    "owner",
    "viewer owner",
    "admin",
    "key",
    "visitor",
    "link viewer",
    "link editor",
)
"""The callers of `CALLERS`, members with each role on the canvas, and an owner with the account role `viewer`.

`link viewer` and `link editor` have share links of the canvas and no account.
The link of `visitor` is for another canvas.
"""

CANVAS_STATUSES: dict[str, tuple[int, ...]] = {
    # anonymous, viewer, editor, canvas viewer, canvas editor, owner, viewer owner, admin, key, visitor, link viewer,
    # link editor
    "state.canvas.get": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 200, 200),
    "state.canvas.rename": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 200),
    "state.member.list": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.member.get": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.member.set": (401, 403, 403, 403, 403, 200, 403, 200, 403, 403, 403, 403),
    "state.member.remove": (401, 403, 403, 403, 403, 204, 403, 204, 403, 403, 403, 403),
    "state.usage.canvas": (401, 403, 403, 403, 403, 200, 403, 200, 403, 403, 403, 403),
    "state.export": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 200, 200),
    "state.value.canvas": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 200, 200),
    "collab.import": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 200),
    "collab.elements.change": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 200),
    "collab.elements.event": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 200),
    # without an edit to undo
    "collab.elements.undo": (401, 403, 403, 403, 409, 409, 403, 409, 403, 403, 403, 403),
    "collab.elements.redo": (401, 403, 403, 403, 409, 409, 403, 409, 403, 403, 403, 403),
    "collab.elements.history": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "collab.locks.lock": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 200),
    "collab.locks.unlock": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 200),
    "collab.locks.list": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 200, 200),
    "state.version.list": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.version.create": (401, 403, 403, 403, 201, 201, 403, 201, 403, 403, 403, 403),
    "state.version.get": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.version.rename": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 403),
    "state.version.restore": (401, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 403),
    "state.version.diff": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.version.thumbnail": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.version.delete": (401, 403, 403, 403, 403, 204, 403, 204, 403, 403, 403, 403),
    "state.canvas.moment": (401, 403, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403),
    "state.canvas.delete": (401, 403, 403, 403, 403, 204, 403, 204, 403, 403, 403, 403),
    "state.link.create": (401, 403, 403, 403, 403, 201, 403, 201, 403, 403, 403, 403),
    "state.link.list": (401, 403, 403, 403, 403, 200, 403, 200, 403, 403, 403, 403),
    "state.link.end": (401, 403, 403, 403, 403, 204, 403, 204, 403, 403, 403, 403),
    "state.canvas.restore": (401, 403, 403, 403, 403, 200, 403, 200, 403, 403, 403, 403),
    # The close code, or 0 if the connection stays open.
    "live.join": (4401, 4403, 4403, 0, 0, 0, 0, 0, 4403, 4403, 0, 0),
}

MEMBER_ROLES = {
    "canvas viewer": "viewer",
    "canvas editor": "editor",
    "owner": "owner",
    "viewer owner": "owner",
}
"""The role on the canvas of each caller that is a member."""

PAGE_STATUSES: dict[str, tuple[int, int, int, int, int, int]] = {
    "/health/": (200, 200, 200, 200, 200, 200),
    "/health/live": (200, 200, 200, 200, 200, 200),
    "/health/ready": (200, 200, 200, 200, 200, 200),
    "/health/summary/": (401, 200, 200, 200, 200, 403),
    "/metrics/": (200, 200, 200, 200, 200, 200),
    "/metrics/prometheus": (200, 200, 200, 200, 200, 200),
    "/openapi.json": (200, 200, 200, 200, 200, 200),
    "/docs": (200, 200, 200, 200, 200, 200),
}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LoggedInUser:
    """A user with the tokens of a session."""

    user: User
    token: str
    session_id: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the user's requests."""
        return {"Authorization": f"Bearer {self.token}"}


class MatrixStack:
    """The stack under test, with functions that create accounts and send example requests."""

    def __init__(self, api: Api, http: httpx.AsyncClient, stack: DevStack) -> None:
        self.api = api
        self.http = http
        self.stack = stack
        self.admin = api.session(stack.admin_username, stack.admin_password)
        self.document: dict[str, Any] = {}

    async def create_logged_in_user(self, role: str) -> LoggedInUser:
        """Create an account with this role, and log in."""
        user = await self.admin.create_user(f"matrix-{role}-{next(_numbers)}", role)
        body = {"username": user.username, "password": user.password}
        tokens = (await self.http.post("/auth/login", json=body)).json()
        leaks.OPAQUE_SECRETS.add(tokens["refresh_token"])
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        sessions = (await self.http.get("/auth/sessions/", headers=headers)).json()["items"]
        return LoggedInUser(
            user, tokens["access_token"], sessions[0]["id"], tokens["refresh_token"]
        )

    async def create_api_key(self, owner: LoggedInUser) -> tuple[str, str]:
        """Create an API key of this user, and return its id and the key."""
        response = await self.http.post(
            "/auth/api-keys/", json={"name": "key"}, headers=owner.headers
        )
        return str(response.json()["id"]), str(response.json()["key"])

    async def create_link(
        self, canvas_id: str, headers: Mapping[str, str], role: str
    ) -> tuple[str, str]:
        """Create a share link of a canvas, and return its id and the token."""
        response = await self.http.post(
            f"{CANVASES}{canvas_id}/links/", json={"role": role}, headers=headers
        )
        return str(response.json()["id"]), str(response.json()["token"])

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], values: Mapping[str, str]
    ) -> httpx.Response:
        """Send an operation's example request, with `values` in place of its path, query and body parameters."""
        request = example_request(self.document, method.lower(), path)
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
            for part in ("json", "params"):
                if name in request.get(part, {}):
                    request[part][name] = value
        request["headers"] = {**request.get("headers", {}), **headers}
        return await self.http.request(method, path, **request)

    async def connect_socket(self, canvas_id: str, headers: Mapping[str, str]) -> int:
        """Open a WebSocket on a canvas. Return the close code, or 0 if the server accepts the client.

        The credential in `headers` is sent in the query, as a web page in a browser sends it.
        """
        token = headers.get("Authorization", "Bearer ").removeprefix("Bearer ")
        query = f"token={headers.get('X-API-Key', token)}&link={headers.get('X-Share-Link', '')}"
        async with connect(f"{self.api.websocket_url}/{canvas_id}?{query}") as socket:
            try:
                await socket.send(bytes([0, 0, 1, 0]))  # sync step 1
                await socket.recv()
            except ConnectionClosed as error:
                return error.rcvd.code if error.rcvd else -1
            return 0


@pytest.fixture(scope="module")
async def matrix(changed_stack: DevStack) -> AsyncIterator[MatrixStack]:
    """Return clients of a stack. The tests may change the limits and accounts of this stack."""
    async with (
        open_api(changed_stack.url) as api,
        httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http,
    ):
        matrix = MatrixStack(api, http, changed_stack)
        matrix.document = (await http.get("/openapi.json")).json()
        yield matrix


def test_matrix_has_a_row_for_every_operation() -> None:
    """A new operation without a row fails this test. Proves R-ACCESS-11."""
    operations = {each.name for each in OPERATIONS if each.http is not None}
    assert operations | {"live.join"} == ACCOUNT_STATUSES.keys() | CANVAS_STATUSES.keys()
    assert not ACCOUNT_STATUSES.keys() & CANVAS_STATUSES.keys()


async def test_matrix_has_a_row_for_every_page(matrix: MatrixStack) -> None:
    """A new page without a row fails this test. Proves R-ACCESS-11."""
    operations = {each.http.path for each in OPERATIONS if each.http is not None}
    pages = {path for path in matrix.document["paths"] if path not in operations}
    assert pages == PAGE_STATUSES.keys()


@pytest.fixture(scope="module")
async def caller_headers(matrix: MatrixStack) -> dict[str, dict[str, str]]:
    """Return the headers of each caller. Tests that end the sessions of callers create callers of their own."""
    return await create_callers(matrix)


async def create_callers(matrix: MatrixStack) -> dict[str, dict[str, str]]:
    """Create the callers' accounts, API key and share link, and return the headers of each caller's requests."""
    headers = {"anonymous": dict[str, str]()}
    for role in ("viewer", "editor", "admin"):
        headers[role] = (await matrix.create_logged_in_user(role)).headers
    owner = await matrix.create_logged_in_user("editor")
    _, key = await matrix.create_api_key(owner)
    canvas = await matrix.http.post(CANVASES, json={"name": "shared"}, headers=owner.headers)
    _, link = await matrix.create_link(canvas.json()["id"], owner.headers, "editor")
    return {**headers, "key": {"X-API-Key": key}, "visitor": {"X-Share-Link": link}}


@dataclass(frozen=True, slots=True)
class Victim:
    """An account with an API key and a canvas, which callers try to read and change."""

    owner: LoggedInUser
    key_id: str
    key: str
    canvas_name: str


async def create_victim(matrix: MatrixStack) -> Victim:
    """Create an account with a key and a canvas."""
    owner = await matrix.create_logged_in_user("editor")
    key_id, key = await matrix.create_api_key(owner)
    name = f"secret plan {next(_numbers)}"
    created = await matrix.http.post(CANVASES, json={"name": name}, headers=owner.headers)
    assert created.status_code == 201
    return Victim(owner, key_id, key, name)


def secrets_of(victim: Victim) -> tuple[str, ...]:
    """Return texts that only the victim and admins may read."""
    return (
        victim.owner.user.username,
        f"{victim.owner.user.username}@example.org",
        victim.canvas_name,
        victim.owner.session_id,
    )


@pytest.fixture(scope="module")
async def unchanged_victim(matrix: MatrixStack) -> Victim:
    """Create the victim for all requests except those that may change the victim."""
    return await create_victim(matrix)


@pytest.mark.parametrize("operation", ACCOUNT_STATUSES)
async def test_account_operation_answers_each_caller_with_the_status_of_the_matrix(
    matrix: MatrixStack,
    caller_headers: dict[str, dict[str, str]],
    unchanged_victim: Victim,
    operation: str,
) -> None:
    """A refused caller neither reads nor changes another account. Proves R-ACCESS-11."""
    http = next(each.http for each in OPERATIONS if each.name == operation)
    assert http is not None
    headers = await create_callers(matrix) if operation == "auth.logout" else caller_headers
    for caller, expected in zip(CALLERS, ACCOUNT_STATUSES[operation], strict=True):
        victim = unchanged_victim
        if caller == "admin" and operation.startswith("auth."):
            # An admin may change the account, so each of these operations needs a new account.
            victim = await create_victim(matrix)
        owner = victim.owner
        new_name = f"new-{next(_numbers)}"
        values = {
            "user_id": owner.user.id,
            "confirm": owner.user.id,
            "session_id": owner.session_id,
            "key_id": victim.key_id,
            "provider": "unknown",
            "service": "collab",
            "replica_id": "unknown",
            "canvas_id": "unknown",
            "webhook_id": "unknown",
            "delivery_id": "unknown",
            # An IP address, because some machines cannot resolve the host name of the example.
            "url": "https://1.1.1.1/hook",
            "backup_id": "unknown",
            "restore_id": "unknown",
            "key": "unknown",
        }
        if operation in ("auth.user.create", "auth.user.update", "auth.login"):
            values |= {"username": new_name, "email": f"{new_name}@example.org"}
        response = await matrix.send(http.method, http.path, headers[caller], values)
        assert response.status_code == expected, (caller, response.text)
        if caller != "admin":
            assert not any(each in response.text for each in secrets_of(victim)), caller
            me = await matrix.http.get("/auth/me", headers=owner.headers)
            assert me.json()["username"] == owner.user.username
            by_key = await matrix.http.get("/auth/me", headers={"X-API-Key": victim.key})
            assert by_key.status_code == 200
        elif operation in ("gateway.rate_limits.set", "state.quotas.set"):
            # Remove the limits and quotas, because they would apply to the following tests.
            await matrix.admin.request("PUT", http.path, json={})


@pytest.fixture(scope="module")
async def canvas_users(matrix: MatrixStack) -> dict[str, LoggedInUser]:
    """Create the accounts of `MEMBER_ROLES`, `creator` and `member`.

    `creator` creates all canvases. Requests name `member` in `user_id`.
    """
    account_roles = dict.fromkeys(MEMBER_ROLES, "editor") | {
        "viewer owner": "viewer",
        "creator": "editor",
        "member": "viewer",
    }
    return {name: await matrix.create_logged_in_user(role) for name, role in account_roles.items()}


@dataclass(frozen=True, slots=True)
class UnchangedCanvas:
    """The canvas for requests that are refused or only read.

    The fields contain its content as SVG, its creator's session, and its links.
    """

    canvas_id: str
    name: str
    content: bytes
    version_id: str
    creator: ApiSession
    links: dict[str, dict[str, str]]


async def create_secret_canvas(
    creator: ApiSession, canvas_users: dict[str, LoggedInUser]
) -> tuple[str, str]:
    """Create a canvas with the members of `MEMBER_ROLES` and a further viewer, and return its id and name."""
    name = f"secret plan {next(_numbers)}"
    canvas_id = await creator.create_canvas(name)
    for member_name, role in MEMBER_ROLES.items():
        await creator.set_member(canvas_id, canvas_users[member_name].user, role)
    await creator.set_member(canvas_id, canvas_users["member"].user, "viewer")
    return canvas_id, name


@pytest.fixture(scope="module")
async def unchanged(matrix: MatrixStack, canvas_users: dict[str, LoggedInUser]) -> UnchangedCanvas:
    """Create the canvas for requests that are refused or only read."""
    creator = matrix.api.session_of(canvas_users["creator"].user)
    canvas_id, name = await create_secret_canvas(creator, canvas_users)
    links = await create_links(matrix, canvas_id, canvas_users)
    content = await creator.export(canvas_id, "svg")
    version_id = await create_version(creator, canvas_id)
    return UnchangedCanvas(canvas_id, name, content, version_id, creator, links)


async def create_version(session: ApiSession, canvas_id: str) -> str:
    """Keep the content of a canvas as a version, and return its id."""
    path = f"{CANVASES}{canvas_id}/versions/"
    return str((await session.request("POST", path, json={"name": "kept"})).json()["id"])


async def create_links(
    matrix: MatrixStack, canvas_id: str, canvas_users: dict[str, LoggedInUser]
) -> dict[str, dict[str, str]]:
    """Create a share link for each role, and return the headers of a visitor with each link."""
    owner = canvas_users["owner"].headers
    return {
        f"link {role}": {"X-Share-Link": (await matrix.create_link(canvas_id, owner, role))[1]}
        for role in ("viewer", "editor")
    }


@pytest.mark.parametrize("operation", CANVAS_STATUSES)
async def test_canvas_operation_answers_each_caller_with_the_status_of_the_matrix(
    matrix: MatrixStack,
    caller_headers: dict[str, dict[str, str]],
    canvas_users: dict[str, LoggedInUser],
    unchanged: UnchangedCanvas,
    operation: str,
) -> None:
    """A refused caller neither reads nor changes the canvas. Proves R-ACCESS-11."""
    headers = caller_headers | {name: user.headers for name, user in canvas_users.items()}
    headers |= unchanged.links
    creator, member = unchanged.creator, canvas_users["member"].user
    for caller, expected in zip(CANVAS_CALLERS, CANVAS_STATUSES[operation], strict=True):
        canvas_id, version_id = unchanged.canvas_id, unchanged.version_id
        if operation == "live.join":
            assert await matrix.connect_socket(canvas_id, headers[caller]) == expected
            continue
        http = next(each.http for each in OPERATIONS if each.name == operation)
        assert http is not None
        refused = expected in (401, 403)
        if not refused and http.method != "GET":
            # The request changes the canvas, so each such request needs a new canvas.
            canvas_id, _ = await create_secret_canvas(creator, canvas_users)
            if "version_id" in http.path:
                version_id = await create_version(creator, canvas_id)
            if caller in unchanged.links:
                headers |= await create_links(matrix, canvas_id, canvas_users)
        values = {"canvas_id": canvas_id, "user_id": member.id, "version_id": version_id}
        if operation == "state.link.end":
            owner = canvas_users["owner"]
            values["link_id"], _ = await matrix.create_link(canvas_id, owner.headers, "viewer")
        response = await matrix.send(http.method, http.path, headers[caller], values)
        assert response.status_code == expected, (caller, response.text)
        if refused:
            assert unchanged.name not in response.text
            now = await creator.canvas(canvas_id)
            assert (now.name, now.role) == (unchanged.name, "owner")
            assert await creator.export(canvas_id, "svg") == unchanged.content
            path = f"{CANVASES}{canvas_id}/members/{member.id}"
            assert (await creator.request("GET", path)).json()["role"] == "viewer"
            versions = await creator.request("GET", f"{CANVASES}{canvas_id}/versions/?named=true")
            assert [each["name"] for each in versions.json()["items"]] == ["kept"]


@pytest.mark.parametrize("page", PAGE_STATUSES)
async def test_page_answers_each_caller_with_the_status_of_the_matrix(
    matrix: MatrixStack, caller_headers: dict[str, dict[str, str]], page: str
) -> None:
    """Only the health summary needs a token. Proves R-ACCESS-11."""
    for caller, expected in zip(CALLERS, PAGE_STATUSES[page], strict=True):
        # A slow check of a dependency makes the gateway unready for half a second.
        await matrix.stack.process("gateway").wait_ready()
        response = await matrix.http.get(page, headers=caller_headers[caller])
        assert response.status_code == expected, (caller, response.text)
