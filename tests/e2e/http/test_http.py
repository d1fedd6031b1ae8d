"""HTTP operations: paths, problem documents, roles on canvases, and fields of requests and responses."""

import itertools
import re
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import httpx
import pytest

from svgx_common.contract import OPERATIONS
from svgx_common.contract.api_keys import ApiKeyInfo, NewApiKey
from svgx_common.contract.auth import SessionInfo
from svgx_common.contract.auth import User as Account
from svgx_common.contract.operation import Http, RawRequest, ReplyModel
from tests.e2e.clients.api import CANVASES, SVG_TYPE
from tests.e2e.clients.openapi_document import example_request
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="1"/></svg>'


async def test_paths_work_with_and_without_a_trailing_slash(workspace: Workspace) -> None:
    """Neither form of a path is redirected to the other one. Proves R-HTTP-1."""
    for path in ("/runtime/canvases", "/auth/me", "/admin/users", "/health/summary"):
        for slash in ("", "/"):
            response = await workspace.admin.request("GET", path + slash)
            assert response.status_code == 200, path + slash


LISTS = (
    "/runtime/canvases/",
    "/runtime/canvases/?name=a",
    "/admin/users/",
    "/admin/users/?search=e",
    "/admin/audit/",
    "/admin/audit/?event=log_in",
    "/auth/sessions/",
    "/auth/api-keys/",
    "/state/values/",
    "/state/values/?prefix=a",
)
"""Paths of lists, some with a filter. The test gives each list at least two items."""


async def test_cursor_is_accepted_by_its_own_list_and_query_only(workspace: Workspace) -> None:
    """Every other list, and the same list with another filter, refuses the cursor. Proves R-STATE-15."""
    admin = workspace.admin
    for number in range(2):
        await workspace.create_user()
        await admin.create_canvas(f"a {number}")
        await workspace.api.session(admin.username, workspace.stack.admin_password).me()
        key = await admin.request("POST", "/auth/api-keys/", json={"name": "a"})
        assert key.status_code == 201
        value = {"key": f"a.{number}", "value": number}
        assert (await admin.request("POST", "/state/persist/", json=value)).status_code == 200
    cursors = {}
    for path in LISTS:
        page = (await admin.request("GET", path, params=_parameters(path, limit="1"))).json()
        assert page["next"] is not None, path
        cursors[path] = page["next"]
    for path, (source, cursor) in itertools.product(LISTS, cursors.items()):
        response = await admin.request("GET", path, params=_parameters(path, cursor=cursor))
        if path == source:
            assert response.status_code == 200
            assert response.json()["items"]
        else:
            assert check_problem(response, 422, "invalid")["field"] == "cursor", (path, source)
    # A cursor of an account's own list is refused for another account.
    user = workspace.api.session_of(await workspace.create_user())
    for path in ("/runtime/canvases/", "/auth/sessions/", "/auth/api-keys/"):
        response = await user.request("GET", path, params={"cursor": cursors[path]})
        assert check_problem(response, 422, "invalid")["field"] == "cursor"


def _parameters(path: str, **added: str) -> dict[str, str]:
    """Return the parameters in a path's query, and the added ones. httpx drops the path's query if it gets `params`."""
    return {**dict(parse_qsl(urlsplit(path).query)), **added}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": 7}, "name"),
        ({"name": "ok", "colour": "red"}, "colour"),
    ],
)
async def test_invalid_field_gets_422_with_its_name(
    workspace: Workspace, body: dict[str, Any], field: str
) -> None:
    """The problem document names the invalid field of the body. Proves R-HTTP-2."""
    response = await workspace.owner.request("POST", "/runtime/canvases/", json=body)
    assert check_problem(response, 422, "invalid")["field"] == field


async def test_malformed_json_body_gets_400(workspace: Workspace) -> None:
    """A body that is no JSON object in UTF-8 is refused. Proves R-HTTP-2."""
    json_type = {"Content-Type": "application/json"}
    for content in (b"{", b"[1]", b"[" * 10_000, b"\xff"):
        response = await workspace.owner.request(
            "POST", "/runtime/canvases/", content=content, headers=json_type
        )
        check_problem(response, 400, "bad_request")


async def test_unknown_path_gets_404_and_wrong_method_405(workspace: Workspace) -> None:
    """Both responses are problem documents. Proves R-HTTP-6."""
    check_problem(await workspace.owner.request("GET", "/nowhere"), 404, "not_found")
    check_problem(await workspace.owner.request("PUT", "/auth/login"), 405, "method_not_allowed")


async def test_body_of_wrong_type_gets_415_and_too_large_body_413(
    workspace: Workspace, canvas: str
) -> None:
    """A body without `Content-Length` is refused once the limit is exceeded. Proves R-HTTP-3."""
    path = f"/runtime/canvases/{canvas}/svg"
    plain = {"Content-Type": "text/plain"}
    response = await workspace.owner.request("PUT", path, content=SVG, headers=plain)
    check_problem(response, 415, "unsupported_media_type")

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 1024 * 1024

    for content in (b" " * (16 * 1024 * 1024 + 1), chunks()):
        response = await workspace.owner.request("PUT", path, content=content, headers=SVG_TYPE)
        problem = check_problem(response, 413, "too_large")
        assert (problem["field"], problem["limit"]) == ("body", 16 * 1024 * 1024)
    many = {f"field{number}": 0 for number in range(2000)}
    response = await workspace.owner.request("POST", "/auth/login", json=many)
    assert check_problem(response, 413, "too_large")["limit"] == 16 * 1024


@pytest.mark.parametrize(
    "svg",
    [
        b"not xml",
        b"<html/>",
        b'<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
    ],
)
async def test_invalid_svg_import_gets_422_and_changes_nothing(
    workspace: Workspace, canvas: str, svg: bytes
) -> None:
    """The canvas keeps its content. Proves R-SVG-1."""
    await workspace.owner.import_svg(canvas, SVG)
    path = f"/runtime/canvases/{canvas}/svg"
    response = await workspace.owner.request("PUT", path, content=svg, headers=SVG_TYPE)
    check_problem(response, 422, "invalid")
    assert b"<rect" in await workspace.owner.export(canvas, "svg")


async def test_request_without_a_valid_token_gets_401(workspace: Workspace, canvas: str) -> None:
    """The response names the scheme `Bearer` in `WWW-Authenticate`. Proves R-ACCESS-1."""
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=60) as http:
        for headers in ({}, {"Authorization": "Basic eA=="}, {"Authorization": "Bearer x"}):
            for path in ("/runtime/canvases/", f"/runtime/canvases/{canvas}", "/auth/me"):
                response = await http.get(path, headers=headers)
                check_problem(response, 401, "unauthenticated")
                assert response.headers["www-authenticate"] == "Bearer"


CANVAS_OPERATIONS: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
    # method, path after the canvas id, options of the request, expected status for each role on the canvas
    ("GET", "", {}, {"owner": 200, "editor": 200, "viewer": 200, "none": 403}),
    ("GET", "/export", {}, {"owner": 200, "editor": 200, "viewer": 200, "none": 403}),
    (
        "PUT",
        "/svg",
        {"content": SVG, "headers": SVG_TYPE},
        {"owner": 200, "editor": 200, "viewer": 403, "none": 403},
    ),
    (
        "PATCH",
        "",
        {"json": {"name": "n"}},
        {"owner": 200, "editor": 200, "viewer": 403, "none": 403},
    ),
    (
        "PUT",
        "/members/unknown",
        {"json": {"role": "viewer"}},
        {"owner": 404, "editor": 403, "viewer": 403, "none": 403},
    ),
    ("GET", "/members/unknown", {}, {"owner": 404, "editor": 404, "viewer": 404, "none": 403}),
    ("DELETE", "/members/unknown", {}, {"owner": 404, "editor": 403, "viewer": 403, "none": 403}),
    ("DELETE", "", {}, {"owner": 204, "editor": 403, "viewer": 403, "none": 403}),
]


async def test_canvas_operations_follow_the_role_on_the_canvas(
    workspace: Workspace, canvas: str
) -> None:
    """Each operation is tried with each role, and without a role. Proves R-ACCESS-7."""
    sessions = {"owner": workspace.owner}
    for role in ("editor", "viewer", "none"):
        user = await workspace.create_user("editor")
        sessions[role] = workspace.api.session_of(user)
        if role != "none":
            await workspace.owner.set_member(canvas, user, role)
    for method, suffix, request, statuses in CANVAS_OPERATIONS:
        for role in ("none", "viewer", "editor", "owner"):
            path = f"/runtime/canvases/{canvas}{suffix}"
            response = await sessions[role].request(method, path, **request)
            assert response.status_code == statuses[role], (method, suffix, role, response.text)


async def test_account_roles_limit_creation_editing_and_administration(
    workspace: Workspace, canvas: str
) -> None:
    """An account with the role viewer cannot create a canvas. It cannot change a canvas on which its role is editor.

    Only admins list accounts. Proves R-ACCESS-8.
    """
    viewer = await workspace.create_user("viewer")
    await workspace.owner.set_member(canvas, viewer, "editor")
    api = workspace.api.session_of(viewer)
    check_problem(
        await api.request("POST", "/runtime/canvases/", json={"name": "n"}), 403, "forbidden"
    )
    response = await api.request("PATCH", f"/runtime/canvases/{canvas}", json={"name": "n"})
    check_problem(response, 403, "forbidden")
    for session in (api, workspace.api.session_of(await workspace.create_user("editor"))):
        check_problem(await session.request("GET", "/admin/users/"), 403, "forbidden")


async def test_wrong_passwords_delay_log_ins_from_the_same_address(workspace: Workspace) -> None:
    """After five wrong passwords from an address, log-ins from it get 429, even with the right password.

    Log-ins from the address of the account's session are not refused.

    The test acts as a trusted proxy, so `X-Forwarded-For` sets the client address. Proves R-AUTH-20.
    """
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=30) as http:

        async def login(password: str, address: str) -> httpx.Response:
            body = {"username": user.username, "password": password}
            headers = {"X-Forwarded-For": address, "User-Agent": "the browser"}
            return await http.post("/auth/login", json=body, headers=headers)

        while True:  # On a busy machine, the wait of a second may end before the next log-in.
            user = await workspace.create_user("editor")
            tokens = (await login(user.password, "192.0.2.7")).json()
            for _ in range(4):
                response = await login("a guess", "203.0.113.7")
                check_problem(response, 401, "invalid_credentials")
            began = time.monotonic()
            response = await login("a guess", "203.0.113.7")
            check_problem(response, 401, "invalid_credentials")
            response = await login(user.password, "203.0.113.7")
            if time.monotonic() - began < 1:
                break
        check_problem(response, 429, "too_many_requests")
        assert response.headers["retry-after"] == "1"
        assert (await login(user.password, "192.0.2.7")).status_code == 200
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        sessions = (await http.get("/auth/sessions", headers=bearer)).json()["items"]
    assert [(session["address"], session["user_agent"]) for session in sessions] == [
        ("192.0.2.7", "the browser")
    ] * 2


async def test_the_openapi_document_is_served(workspace: Workspace) -> None:
    """The gateway serves the OpenAPI document. Proves R-CONTRACT-4."""
    document = (await workspace.owner.request("GET", "/openapi.json")).json()
    assert "/runtime/canvases/{canvas_id}/svg" in document["paths"]


async def test_cors_allows_any_origin_without_credentials(workspace: Workspace) -> None:
    """`*` is never combined with credentials. Proves R-HTTP-4."""
    response = await workspace.owner.request(
        "GET", "/auth/me", headers={"Origin": "https://example.org"}
    )
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_cors_preflight_allows_the_documented_headers_only(workspace: Workspace) -> None:
    """A preflight request for a method that the path does not have is allowed too. Proves R-HTTP-4 and R-HTTP-6."""
    preflight = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, x-api-key, idempotency-key, content-type",
    }
    response = await workspace.owner.request("OPTIONS", "/auth/me", headers=preflight)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in response.headers
    preflight["Access-Control-Request-Headers"] = "x-made-up"
    response = await workspace.owner.request("OPTIONS", "/auth/me", headers=preflight)
    check_problem(response, 400, "bad_request")


async def test_admins_read_the_audit_log(workspace: Workspace) -> None:
    """Only admins may read the log; filters select entries. Proves R-AUTH-23."""
    user = await workspace.create_user("editor")
    response = await workspace.admin.request(
        "GET", "/admin/audit", params={"user_id": user.id, "since": "2020-01-01T00:00:00Z"}
    )
    (entry,) = response.json()["items"]
    assert (entry["event"], entry["actor"]) == ("user_created", workspace.admin.username)
    assert entry["address"]
    check_problem(
        await workspace.api.session_of(user).request("GET", "/admin/audit/"), 403, "forbidden"
    )
    response = await workspace.admin.request("GET", "/admin/audit/", params={"since": "yesterday"})
    assert check_problem(response, 422, "invalid")["field"] == "since"


_UNDOCUMENTED = {"is_admin", "token_version", "password_hash", "owner_id"}
"""Fields that an attacker would try. The test skips a field that the operation documents (`owner_id` of a backup)."""


async def test_undocumented_request_field_gets_422_with_its_name(workspace: Workspace) -> None:
    """The error names the field. SVG imports and pages of OpenID Connect are not tested. Proves R-HTTP-13."""
    document = (await workspace.admin.request("GET", "/openapi.json")).json()
    tried = 0
    for operation in OPERATIONS:
        http = operation.http
        if http is None or issubclass(operation.request, RawRequest) or http.cookie:
            continue
        request = example_request(document, http.method.lower(), http.path)
        part = _part_of_fields(http)
        path = re.sub(r"{\w+}", "x", http.path.replace("{service}", "state"))
        for field in _UNDOCUMENTED - set(operation.request.model_fields):
            changed = {**request, part: {**request.get(part, {}), field: "1"}}
            response = await workspace.admin.request(http.method, path, **changed)
            assert check_problem(response, 422, "invalid")["field"] == field, operation.name
            tried += 1
    assert tried > 80


def _part_of_fields(http: Http) -> str:
    return "params" if http.method in ("GET", "DELETE") else "json"


async def test_field_in_the_wrong_part_of_a_request_gets_422_with_its_name(
    workspace: Workspace,
) -> None:
    """GET and DELETE refuse a body, and all other methods refuse a field in the query. Proves R-HTTP-13."""
    document = (await workspace.admin.request("GET", "/openapi.json")).json()
    tried = 0
    for operation in OPERATIONS:
        http = operation.http
        if http is None:
            continue
        request = example_request(document, http.method.lower(), http.path)
        path = re.sub(r"{\w+}", "x", http.path.replace("{service}", "state"))
        if _part_of_fields(http) == "params":
            wrong, field = {"json": {"version": "1"}}, "body"
        else:
            wrong, field = {"params": {"version": "1", "other": "2"}}, "version"
        response = await workspace.admin.request(http.method, path, **{**request, **wrong})
        assert check_problem(response, 422, "invalid")["field"] == field, operation.name
        tried += 1
    assert tried > 80


async def test_path_field_in_another_part_of_a_request_gets_422_with_its_name(
    workspace: Workspace,
) -> None:
    """A field of the path is refused in the query of a GET or DELETE, and in the JSON body of others.

    The test skips SVG imports, and the callback of OpenID Connect, which ignores other fields. Proves R-HTTP-13.
    """
    document = (await workspace.admin.request("GET", "/openapi.json")).json()
    tried = 0
    for operation in OPERATIONS:
        http = operation.http
        if http is None or not http.path_fields or issubclass(operation.request, RawRequest):
            continue
        if operation.request.model_config["extra"] == "ignore":
            continue
        request = example_request(document, http.method.lower(), http.path)
        part, field = _part_of_fields(http), http.path_fields[0]
        path = re.sub(r"{\w+}", "x", http.path.replace("{service}", "state"))
        changed = {**request, part: {**request.get(part, {}), field: "x"}}
        response = await workspace.admin.request(http.method, path, **changed)
        assert check_problem(response, 422, "invalid")["field"] == field, operation.name
        tried += 1
    assert tried > 40


async def test_malformed_canvas_id_gets_422_with_its_field(workspace: Workspace) -> None:
    """The response to an unknown canvas is 404. Proves R-ACCESS-2."""
    for canvas_id in ("a.b", "%FF", "%00", "x" * 65, "%2F", "a%0A", "é", "*"):
        response = await workspace.owner.request("GET", f"{CANVASES}{canvas_id}")
        assert check_problem(response, 422, "invalid")["field"] == "canvas_id"
    response = await workspace.owner.request("GET", f"{CANVASES}{uuid4()}")
    check_problem(response, 404, "not_found")


async def test_responses_have_exactly_the_documented_fields(workspace: Workspace) -> None:
    """Responses leave out the secret columns of accounts, keys and sessions. Proves R-HTTP-13."""
    user = await workspace.create_user("editor")
    api = workspace.api.session_of(user)
    key = await api.request("POST", "/auth/api-keys/", json={"name": "robot"})
    assert key.json().keys() == NewApiKey.model_fields.keys()
    listed = await workspace.admin.request("GET", "/admin/users/", params={"search": user.username})
    bodies: list[tuple[dict[str, Any], type[ReplyModel]]] = [
        (await api.me(), Account),
        (listed.json()["items"][0], Account),
        ((await workspace.admin.request("GET", f"/admin/users/{user.id}")).json(), Account),
        ((await api.request("GET", "/auth/sessions/")).json()["items"][0], SessionInfo),
        ((await api.request("GET", "/auth/api-keys/")).json()["items"][0], ApiKeyInfo),
    ]
    for body, model in bodies:
        assert body.keys() == model.model_fields.keys()
        assert not any(re.search("password|hash|secret|token|^key$", name) for name in body)
