"""The documentation page `/docs`, and the examples of the OpenAPI document."""

import re
from typing import Any

import httpx
import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.api import CANVASES, ApiSession, open_api
from tests.e2e.clients.openapi_document import check_response, example_request


@pytest.fixture(scope="module")
async def document(changed_stack: DevStack) -> dict[str, Any]:
    """Return the OpenAPI document that the gateway serves."""
    async with httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http:
        document: dict[str, Any] = (await http.get("/openapi.json")).json()
        return document


async def test_docs_page_loads_files_of_the_gateway_only(changed_stack: DevStack) -> None:
    """The gateway serves all files of the page, and the content security policy forbids others. Proves R-HTTP-12."""
    async with httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http:
        page = await http.get("/docs/")
        assert page.text == (await http.get("/docs")).text
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["x-content-type-options"] == "nosniff"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 3
        for path in loaded:
            for encoding in ("gzip", "identity", "zstd, gzip", "identity"):
                part = await http.get(path, headers={"Accept-Encoding": encoding})
                assert part.status_code == 200
                assert len(part.content) > 50
                assert ("content-encoding" in part.headers) == (
                    encoding != "identity" and len(part.content) > 500
                )


async def test_only_scripts_and_styles_of_the_docs_page_may_be_stored(
    changed_stack: DevStack,
) -> None:
    """They are equal for all callers. The page and the document change with the version. Proves R-HTTP-7."""
    expected = {
        "/docs": "no-store",
        "/openapi.json": "no-store",
        "/docs/start.js": "public, max-age=86400",
        "/docs/swagger-ui-bundle.js": "public, max-age=86400",
        "/docs/swagger-ui.css": "public, max-age=86400",
        "/docs/missing.js": "no-store",
    }
    async with httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http:
        found = {path: (await http.get(path)).headers["cache-control"] for path in expected}
    assert found == expected


async def test_root_redirects_a_browser_to_the_docs_page(changed_stack: DevStack) -> None:
    """A GET is redirected to a path of the same host, and a POST is refused. Proves R-HTTP-12."""
    async with httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http:
        redirect = await http.get("/")
        assert (redirect.status_code, redirect.headers["location"]) == (307, "/docs")
        page = await http.get("/", follow_redirects=True)
        assert page.text == (await http.get("/docs")).text
        refused = await http.post("/")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_pages_have_a_traceresponse_where_the_openapi_document_describes_it(
    changed_stack: DevStack, document: dict[str, Any]
) -> None:
    """Of the pages of health and metrics, only the summary has a trace. `/docs` and `/openapi.json` have one too.

    Proves R-CONTRACT-4.
    """
    expected = {"/health/summary/", "/docs", "/openapi.json"}
    pages = [each for each in document["paths"] if each.startswith(("/health", "/metrics"))]
    async with open_api(changed_stack.url) as api:
        admin = api.session(changed_stack.admin_username, changed_stack.admin_password)
        for path in {*pages, *expected}:
            # A slow check of a dependency makes the gateway unready for half a second.
            await changed_stack.process("gateway").wait_ready()
            response = await admin.request("GET", path)
            described = document["paths"][path]["get"]["responses"]["200"].get("headers", {})
            assert response.status_code == 200
            assert ("traceresponse" in response.headers) is (path in expected), path
            assert ("traceresponse" in described) is (path in expected), path


ACCOUNT_OPERATIONS = {
    ("post", "/admin/users/"),
    ("post", "/auth/login"),
    ("post", "/auth/refresh"),
    ("post", "/auth/password"),
    ("post", "/auth/api-keys/"),
    ("delete", "/auth/api-keys/{key_id}"),
    ("delete", "/auth/sessions/{session_id}"),
    ("post", "/auth/logout"),
    ("patch", "/admin/users/{user_id}"),
    ("delete", "/admin/users/{user_id}"),
    ("post", "/admin/users/restore/"),
    ("delete", "/admin/users/{user_id}/sessions/{session_id}"),
}
"""Operations on accounts and sessions. The test sends them in a fixed order, because some of them end a session."""

END_LINK = ("delete", "/runtime/canvases/{canvas_id}/links/{link_id}")
PURGE = ("post", "/admin/canvases/{canvas_id}/purge")
ERASE = ("post", "/admin/users/{user_id}/erase")
LINK_AND_REMOVAL_OPERATIONS = {END_LINK, PURGE, ERASE}
"""Operations that end a share link, or remove a deleted canvas or a user. The test sends them after the
operations that need the canvas or the user."""

WEBHOOK = "/admin/webhooks/{webhook_id}"
REDELIVER = f"{WEBHOOK}/deliveries/{{delivery_id}}/redeliver"
WEBHOOK_OPERATIONS = {
    ("post", "/admin/webhooks/"),
    ("post", f"{WEBHOOK}/test"),
    ("get", f"{WEBHOOK}/deliveries/"),
    ("post", REDELIVER),
}
"""Operations on webhooks. Each needs the result of the previous operation."""

BACKUP_OPERATIONS = {
    ("post", "/state/backup/"),
    ("post", "/state/restore/{backup_id}"),
    ("get", "/state/restores/{restore_id}"),
    ("get", "/state/restores/{restore_id}/canvases/"),
}
"""Operations on backups. The test sends the second after the backup has ended, and the others after the restore."""

DRAIN = ("post", "/admin/replicas/{service}/{replica_id}/drain")
"""An operation that succeeds only with two replicas of a service. `test_replica_drain.py` tests it."""


async def test_every_example_request_gets_a_described_response(
    changed_stack: DevStack, document: dict[str, Any]
) -> None:
    """Each example request gets a response that the document describes. Proves R-CONTRACT-4."""
    async with (
        open_api(changed_stack.url) as api,
        httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http,
    ):
        admin = api.session(changed_stack.admin_username, changed_stack.admin_password)

        async def send(
            method: str, path: str, session: ApiSession | None = admin, **values: str
        ) -> Any:
            request = example_request(document, method, path)
            for part in ("json", "params"):
                if part in request:
                    request[part] = {
                        name: values.get(name, value) for name, value in request[part].items()
                    }
            concrete = path
            for name, value in values.items():
                concrete = concrete.replace(f"{{{name}}}", value)
            if session is None:
                response = await http.request(method, concrete, **request)
            else:
                response = await session.request(method, concrete, **request)
            assert response.is_success, (method, path, response.text)
            check_response(document, response, document["paths"][path][method])
            return response.json() if "json" in response.headers.get("content-type", "") else None

        created = await send("post", "/admin/users/")
        tokens = await send("post", "/auth/login", None)
        await send("post", "/auth/refresh", None, refresh_token=tokens["refresh_token"])
        canvas = (await admin.request("POST", CANVASES, json={"name": "n"})).json()["id"]
        versions = f"{CANVASES}{canvas}/versions/"
        version = (await admin.request("POST", versions, json={"name": "n"})).json()["id"]
        await send("post", "/state/persist/")
        key = example_request(document, "post", "/state/persist/")["json"]["key"]
        ids = {"canvas_id": canvas, "user_id": created["id"], "version_id": version, "key": key}
        other_operations = [
            (method, path)
            for path, methods in document["paths"].items()
            for method in methods
            # The OIDC operations need a provider; test_oidc.py has one.
            if not path.startswith(("/docs", "/auth/oidc"))
            and (method, path)
            not in ACCOUNT_OPERATIONS
            | LINK_AND_REMOVAL_OPERATIONS
            | WEBHOOK_OPERATIONS
            | BACKUP_OPERATIONS
            | {DRAIN}
        ]
        webhook = await send("post", "/admin/webhooks/", url="https://1.1.1.1/hook")
        ids["webhook_id"] = webhook["id"]
        await send("post", f"{WEBHOOK}/test", **ids)
        deliveries = await send("get", f"{WEBHOOK}/deliveries/", **ids)
        await send("post", REDELIVER, **ids, delivery_id=deliveries["items"][0]["id"])

        ids["backup_id"] = (await send("post", "/state/backup/"))["id"]
        await admin.wait_until_ended(f"/state/backups/{ids['backup_id']}")
        ids["restore_id"] = (await send("post", "/state/restore/{backup_id}", **ids))["id"]
        await admin.wait_until_ended(f"/state/restores/{ids['restore_id']}")
        await send("get", "/state/restores/{restore_id}", **ids)
        await send("get", "/state/restores/{restore_id}/canvases/", **ids)
        # PUT comes first, because it sets the members that other operations read. DELETE comes last.
        other_operations.sort(
            key=lambda each: (each[0] == "delete", each[0] != "put", -len(each[1]))
        )
        for method, path in other_operations:
            public = path.startswith(("/health", "/metrics", "/openapi"))
            session = None if public and path != "/health/summary/" else admin
            await send(method, path, session, **ids)
        # One of the requests above has deleted the canvas, so that it can be purged.
        await send(*PURGE, canvas_id=canvas)
        other = (await admin.request("POST", CANVASES, json={"name": "n"})).json()["id"]
        link = await send("post", "/runtime/canvases/{canvas_id}/links/", canvas_id=other)
        await send(*END_LINK, canvas_id=other, link_id=link["id"])

        account = example_request(document, "post", "/admin/users/")["json"]
        passwords = example_request(document, "post", "/auth/password")["json"]
        user = api.session(account["username"], account["password"])
        await send("post", "/auth/password", user)
        api_key = await send("post", "/auth/api-keys/", user_id=created["id"])
        await send("delete", "/auth/api-keys/{key_id}", key_id=api_key["id"])
        user = api.session(account["username"], passwords["new_password"])
        session_id = (await user.request("GET", "/auth/sessions/")).json()["items"][0]["id"]
        await send("delete", "/auth/sessions/{session_id}", user, session_id=session_id)
        sessions_path = "/admin/users/{user_id}/sessions/"
        await api.session(account["username"], passwords["new_password"]).access_token()
        listed = await admin.request("GET", sessions_path.format(user_id=created["id"]))
        session_id = listed.json()["items"][0]["id"]
        await send(
            "delete", f"{sessions_path}{{session_id}}", user_id=created["id"], session_id=session_id
        )
        await send(
            "post", "/auth/logout", api.session(account["username"], passwords["new_password"])
        )
        for method in ("patch", "delete"):
            await send(method, "/admin/users/{user_id}", user_id=created["id"])
        await send("post", "/admin/users/restore/", user_id=created["id"])
        await send(*ERASE, user_id=created["id"], confirm=created["id"])


async def test_refusals_match_the_openapi_document(
    changed_stack: DevStack, document: dict[str, Any]
) -> None:
    """Requests without a token and malformed requests of an admin get documented responses. Proves R-CONTRACT-4."""
    async with (
        open_api(changed_stack.url) as api,
        httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http,
    ):
        admin = api.session(changed_stack.admin_username, changed_stack.admin_password)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if not operation.get("parameters") and "requestBody" not in operation:
                    continue
                concrete = path.replace("{canvas_id}", "nowhere").replace("{user_id}", "nobody")
                for response in (
                    await http.request(method, concrete, content=b"x"),
                    await admin.request(method, concrete, params={"no": "such"}),
                    await admin.request(method, concrete, content=b"{"),
                    await admin.request(
                        method, concrete, json={"no": "such"}, params={"no": "such"}
                    ),
                ):
                    assert 400 <= response.status_code < 500, (method, path)
                    check_response(document, response, operation)
