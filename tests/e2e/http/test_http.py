"""The HTTP surface: problems, paths, roles on canvases."""

import re
from typing import Any

import httpx
import pytest

from svgx_common.contract import OPERATIONS
from svgx_common.contract.api_keys import ApiKeyInfo, NewApiKey
from svgx_common.contract.auth import SessionInfo
from svgx_common.contract.auth import User as Account
from svgx_common.contract.operation import RawRequest, ReplyModel
from tests.e2e.clients.api import SVG_TYPE
from tests.e2e.clients.openapi_document import example_request
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="1"/></svg>'


async def test_paths_answer_with_and_without_their_slash(workspace: Workspace) -> None:
    """Proves R-HTTP-1: without a redirect."""
    for path in ("/runtime/canvases", "/auth/me", "/admin/users", "/health/summary"):
        for slash in ("", "/"):
            answer = await workspace.admin.request("GET", path + slash)
            assert answer.status_code == 200, path + slash


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
async def test_bad_input_names_the_field(
    workspace: Workspace, body: dict[str, Any], field: str
) -> None:
    """Proves R-HTTP-2."""
    answer = await workspace.owner.request("POST", "/runtime/canvases/", json=body)
    assert check_problem(answer, 422, "invalid")["field"] == field


async def test_a_body_that_is_no_json(workspace: Workspace) -> None:
    """Proves R-HTTP-2."""
    json_type = {"Content-Type": "application/json"}
    for content in (b"{", b"[1]", b"[" * 10_000, b"\xff"):
        answer = await workspace.owner.request(
            "POST", "/runtime/canvases/", content=content, headers=json_type
        )
        check_problem(answer, 400, "bad_request")


async def test_an_unknown_path_and_a_wrong_method(workspace: Workspace) -> None:
    """Proves R-HTTP-2."""
    check_problem(await workspace.owner.request("GET", "/nowhere"), 404, "not_found")
    check_problem(await workspace.owner.request("PUT", "/auth/login"), 405, "method_not_allowed")


async def test_a_body_of_the_wrong_type_or_size(workspace: Workspace, canvas: str) -> None:
    """Proves R-HTTP-3: refused by its announced length, and by what arrives where none is announced."""
    path = f"/runtime/canvases/{canvas}/svg"
    plain = {"Content-Type": "text/plain"}
    answer = await workspace.owner.request("PUT", path, content=SVG, headers=plain)
    check_problem(answer, 415, "unsupported_media_type")

    async def endless() -> Any:
        for _ in range(20):
            yield b" " * 1024 * 1024

    for content in (b" " * (16 * 1024 * 1024 + 1), endless()):
        answer = await workspace.owner.request("PUT", path, content=content, headers=SVG_TYPE)
        problem = check_problem(answer, 413, "too_large")
        assert (problem["field"], problem["limit"]) == ("body", 16 * 1024 * 1024)
    many = {f"field{number}": 0 for number in range(2000)}
    answer = await workspace.owner.request("POST", "/auth/login", json=many)
    assert check_problem(answer, 413, "too_large")["limit"] == 16 * 1024


@pytest.mark.parametrize(
    "svg",
    [
        b"not xml",
        b"<html/>",
        b'<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
    ],
)
async def test_an_import_that_is_refused_says_why(
    workspace: Workspace, canvas: str, svg: bytes
) -> None:
    """Proves R-SVG-1, and that nothing is lost by it."""
    await workspace.owner.import_svg(canvas, SVG)
    path = f"/runtime/canvases/{canvas}/svg"
    answer = await workspace.owner.request("PUT", path, content=svg, headers=SVG_TYPE)
    check_problem(answer, 422, "invalid")
    assert b"<rect" in await workspace.owner.export(canvas, "svg")


async def test_without_a_token(workspace: Workspace, canvas: str) -> None:
    """Proves R-ACCESS-1 for HTTP."""
    async with httpx.AsyncClient(base_url=workspace.stack.url) as http:
        for headers in ({}, {"Authorization": "Basic eA=="}, {"Authorization": "Bearer x"}):
            for path in ("/runtime/canvases/", f"/runtime/canvases/{canvas}", "/auth/me"):
                answer = await http.get(path, headers=headers)
                check_problem(answer, 401, "unauthenticated")
                assert answer.headers["www-authenticate"] == "Bearer"


CANVAS_OPERATIONS: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
    # method, path below the canvas, request, status for each role on the canvas
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
        "/members/somebody",
        {"json": {"role": "viewer"}},
        {"owner": 200, "editor": 403, "viewer": 403, "none": 403},
    ),
    ("GET", "/members/somebody", {}, {"owner": 200, "editor": 200, "viewer": 200, "none": 403}),
    ("DELETE", "/members/somebody", {}, {"owner": 204, "editor": 403, "viewer": 403, "none": 403}),
    ("DELETE", "", {}, {"owner": 204, "editor": 403, "viewer": 403, "none": 403}),
]


async def test_who_may_do_what_on_a_canvas(workspace: Workspace, canvas: str) -> None:
    """Proves R-ACCESS-7: each operation with each role."""
    people = {"owner": workspace.owner}
    for role in ("editor", "viewer", "none"):
        user = await workspace.create_user("editor")
        people[role] = workspace.api.session_of(user)
        if role != "none":
            await workspace.owner.set_member(canvas, user, role)
    for method, below, request, statuses in CANVAS_OPERATIONS:
        for role in ("none", "viewer", "editor", "owner"):
            path = f"/runtime/canvases/{canvas}{below}"
            answer = await people[role].request(method, path, **request)
            assert answer.status_code == statuses[role], (method, below, role, answer.text)


async def test_global_roles(workspace: Workspace, canvas: str) -> None:
    """Proves R-ACCESS-8: viewers create nothing and edit nothing, even as members; admins administrate."""
    viewer = await workspace.create_user("viewer")
    await workspace.owner.set_member(canvas, viewer, "editor")
    api = workspace.api.session_of(viewer)
    check_problem(
        await api.request("POST", "/runtime/canvases/", json={"name": "n"}), 403, "forbidden"
    )
    answer = await api.request("PATCH", f"/runtime/canvases/{canvas}", json={"name": "n"})
    check_problem(answer, 403, "forbidden")
    for who in (api, workspace.api.session_of(await workspace.create_user("editor"))):
        check_problem(await who.request("GET", "/admin/users/"), 403, "forbidden")


async def test_who_guesses_is_told_how_long_to_wait(workspace: Workspace) -> None:
    """Proves R-AUTH-20: 429 and `Retry-After`, by the address that the proxy in front names."""
    user = await workspace.create_user("editor")
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=30) as http:

        async def log_in(password: str, address: str) -> httpx.Response:
            body = {"username": user.username, "password": password}
            headers = {"X-Forwarded-For": address, "User-Agent": "the browser"}
            return await http.post("/auth/login", json=body, headers=headers)

        signed_in = (await log_in(user.password, "192.0.2.7")).json()
        for _ in range(5):
            answer = await log_in("a guess", "203.0.113.7")
            check_problem(answer, 401, "invalid_credentials")
        answer = await log_in(user.password, "203.0.113.7")
        check_problem(answer, 429, "too_many_requests")
        assert answer.headers["retry-after"] == "1"
        assert (await log_in(user.password, "192.0.2.7")).status_code == 200
        bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
        sessions = (await http.get("/auth/sessions", headers=bearer)).json()["items"]
    assert [(each["address"], each["user_agent"]) for each in sessions] == [
        ("192.0.2.7", "the browser")
    ] * 2


async def test_the_openapi_document_is_served(workspace: Workspace) -> None:
    """Proves R-CONTRACT-4."""
    document = (await workspace.owner.request("GET", "/openapi.json")).json()
    assert "/runtime/canvases/{canvas_id}/svg" in document["paths"]


async def test_any_origin_may_call_without_credentials(workspace: Workspace) -> None:
    """Proves R-HTTP-4: `*` is never combined with credentials."""
    answer = await workspace.owner.request(
        "GET", "/auth/me", headers={"Origin": "https://example.org"}
    )
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_may_send_what_the_api_reads(workspace: Workspace) -> None:
    """Proves R-HTTP-4: a browser asks before it sends these headers, also about a method no operation has."""
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, x-api-key, idempotency-key, content-type",
    }
    answer = await workspace.owner.request("OPTIONS", "/auth/me", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers
    asked["Access-Control-Request-Headers"] = "x-made-up"
    answer = await workspace.owner.request("OPTIONS", "/auth/me", headers=asked)
    assert answer.status_code == 400


async def test_admins_read_the_audit_log(workspace: Workspace) -> None:
    """Proves R-AUTH-23: over HTTP, by a filter, and nobody else does."""
    user = await workspace.create_user("editor")
    answer = await workspace.admin.request(
        "GET", "/admin/audit", params={"user_id": user.id, "since": "2020-01-01T00:00:00Z"}
    )
    (entry,) = answer.json()["items"]
    assert (entry["event"], entry["actor"]) == ("user_created", workspace.admin.username)
    assert entry["address"]
    check_problem(
        await workspace.api.session_of(user).request("GET", "/admin/audit/"), 403, "forbidden"
    )
    answer = await workspace.admin.request("GET", "/admin/audit/", params={"since": "yesterday"})
    assert check_problem(answer, 422, "invalid")["field"] == "since"


async def test_nobody_sets_what_is_not_theirs_to_set(workspace: Workspace) -> None:
    """Proves R-HTTP-13: a field that the document does not have is refused by name, whatever the operation."""
    document = (await workspace.admin.request("GET", "/openapi.json")).json()
    tried = 0
    for operation in OPERATIONS:
        http = operation.http
        if http is None or issubclass(operation.request, RawRequest) or http.cookie:
            continue
        request = example_request(document, http.method.lower(), http.path)
        part = "params" if http.method in ("GET", "DELETE") else "json"
        path = re.sub(r"{\w+}", "x", http.path)
        for field in ("is_admin", "token_version", "password_hash", "owner_id"):
            changed = {**request, part: {**request.get(part, {}), field: "1"}}
            answer = await workspace.admin.request(http.method, path, **changed)
            assert check_problem(answer, 422, "invalid")["field"] == field, operation.name
            tried += 1
    assert tried > 80


async def test_answers_have_what_is_described_and_no_more(workspace: Workspace) -> None:
    """Proves R-HTTP-13: of accounts, keys and sessions, whose tables have more than anybody may see."""
    user = await workspace.create_user("editor")
    api = workspace.api.session_of(user)
    key = await api.request("POST", "/auth/api-keys/", json={"name": "robot"})
    assert key.json().keys() == NewApiKey.model_fields.keys()
    listed = await workspace.admin.request("GET", "/admin/users/", params={"search": user.username})
    found: list[tuple[dict[str, Any], type[ReplyModel]]] = [
        (await api.me(), Account),
        (listed.json()["items"][0], Account),
        ((await workspace.admin.request("GET", f"/admin/users/{user.id}")).json(), Account),
        ((await api.request("GET", "/auth/sessions/")).json()["items"][0], SessionInfo),
        ((await api.request("GET", "/auth/api-keys/")).json()["items"][0], ApiKeyInfo),
    ]
    for answer, model in found:
        assert answer.keys() == model.model_fields.keys()
        assert not any(re.search("password|hash|secret|token|^key$", name) for name in answer)
