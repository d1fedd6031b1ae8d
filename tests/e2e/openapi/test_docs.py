"""`/docs`: what it says is so, and it asks no other host."""

import re
from typing import Any

import httpx
import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.api import CANVASES, ApiSession, open_api
from tests.e2e.clients.openapi_document import check_response, example_request
from tests.limits import HIGH_LIMITS


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A stack of its own: the examples are accounts and limits."""
    async with DevStack(tmp_path_factory.mktemp("docs"), settings=HIGH_LIMITS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def document(own_stack: DevStack) -> dict[str, Any]:
    """The OpenAPI document as it is served."""
    async with httpx.AsyncClient(base_url=own_stack.url) as http:
        found: dict[str, Any] = (await http.get("/openapi.json")).json()
        return found


async def test_the_page_needs_nobody_else(own_stack: DevStack) -> None:
    """Proves R-HTTP-12: everything it loads is here, and its policy lets it load nothing else."""
    async with httpx.AsyncClient(base_url=own_stack.url) as http:
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


ACCOUNTS = {
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
}
"""What ends accounts and sessions is sent in an order of its own."""


async def test_every_example_works(own_stack: DevStack, document: dict[str, Any]) -> None:
    """Proves R-CONTRACT-4: each request, sent as it is shown, is answered as it is described."""
    async with open_api(own_stack.url) as api, httpx.AsyncClient(base_url=own_stack.url) as http:
        admin = api.session(own_stack.admin_username, own_stack.admin_password)

        async def send(method: str, path: str, who: ApiSession | None = admin, **known: str) -> Any:
            request = example_request(document, method, path)
            for part in ("json", "params"):
                if part in request:
                    request[part] = {
                        name: known.get(name, value) for name, value in request[part].items()
                    }
            concrete = path
            for name, value in known.items():
                concrete = concrete.replace(f"{{{name}}}", value)
            if who is None:
                answer = await http.request(method, concrete, **request)
            else:
                answer = await who.request(method, concrete, **request)
            assert answer.is_success, (method, path, answer.text)
            check_response(document, answer, document["paths"][path][method])
            return answer.json() if "json" in answer.headers.get("content-type", "") else None

        created = await send("post", "/admin/users/")
        tokens = await send("post", "/auth/login", None)
        await send("post", "/auth/refresh", None, refresh_token=tokens["refresh_token"])
        canvas = (await admin.request("POST", CANVASES, json={"name": "n"})).json()["id"]
        rest = [
            (method, path)
            for path, methods in document["paths"].items()
            for method in methods
            # Sign-in elsewhere needs a provider: test_oidc.py.
            if not path.startswith(("/docs", "/auth/oidc")) and (method, path) not in ACCOUNTS
        ]
        # A member is given a role before it is looked at, and everything is done before it is deleted.
        rest.sort(key=lambda each: (each[0] == "delete", each[0] != "put", -len(each[1])))
        for method, path in rest:
            public = path.startswith(("/health", "/metrics", "/openapi"))
            who = None if public and path != "/health/summary/" else admin
            await send(method, path, who, canvas_id=canvas, user_id=created["id"])

        account = example_request(document, "post", "/admin/users/")["json"]
        passwords = example_request(document, "post", "/auth/password")["json"]
        user = api.session(account["username"], account["password"])
        await send("post", "/auth/password", user)
        key = await send("post", "/auth/api-keys/", user_id=created["id"])
        await send("delete", "/auth/api-keys/{key_id}", key_id=key["id"])
        user = api.session(account["username"], passwords["new_password"])
        session = (await user.request("GET", "/auth/sessions/")).json()["items"][0]["id"]
        await send("delete", "/auth/sessions/{session_id}", user, session_id=session)
        await send(
            "post", "/auth/logout", api.session(account["username"], passwords["new_password"])
        )
        for method in ("patch", "delete"):
            await send(method, "/admin/users/{user_id}", user_id=created["id"])
        await send("post", "/admin/users/restore/", user_id=created["id"])


async def test_refusals_are_as_described(own_stack: DevStack, document: dict[str, Any]) -> None:
    """Proves R-CONTRACT-4: nobody, and an admin who sends nonsense, get what the document says."""
    async with open_api(own_stack.url) as api, httpx.AsyncClient(base_url=own_stack.url) as http:
        admin = api.session(own_stack.admin_username, own_stack.admin_password)
        for path, methods in document["paths"].items():
            for method, entry in methods.items():
                if not entry.get("parameters") and "requestBody" not in entry:
                    continue
                concrete = path.replace("{canvas_id}", "nowhere").replace("{user_id}", "nobody")
                for answer in (
                    await http.request(method, concrete, content=b"x"),
                    await admin.request(method, concrete, params={"no": "such"}, content=b"{"),
                    await admin.request(
                        method, concrete, json={"no": "such"}, params={"no": "such"}
                    ),
                ):
                    assert 400 <= answer.status_code < 500, (method, path)
                    check_response(document, answer, entry)
