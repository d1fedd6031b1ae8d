"""Signing in at an OpenID Connect provider: npm `oidc-provider`, and a browser as far as it takes part."""

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from tests import leaks
from tests.e2e.clients.api import ApiSession, open_api
from tests.e2e.clients.openapi_document import check_response
from tests.limits import HIGH_LIMITS

PROVIDER = Path(__file__).parents[1] / "oidc" / "provider.mjs"
LOGIN = "/auth/oidc/corporate/login"
ROLES = {"owners": "admin", "drawers": "editor", "readers": "viewer"}


@dataclass(frozen=True, slots=True)
class Corporate:
    """The provider, and the product that believes it."""

    issuer: str
    stack: DevStack
    process: asyncio.subprocess.Process

    async def says(self, of: str, **claims: Any) -> None:
        """This is what it says of somebody from now on."""
        async with httpx.AsyncClient() as http:
            (await http.put(f"{self.issuer}/people/{of}", json=claims)).raise_for_status()


@contextlib.asynccontextmanager
async def opened(home: Path, node: Path) -> AsyncIterator[Corporate]:
    """Provider and product, until the block ends."""
    api_port, port = choose(), choose()
    issuer, url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{api_port}"
    settings = {
        "name": "corporate",
        "issuer": issuer,
        "client_id": "svgx",
        "client_secret": "not a secret: a test",
        "role_claim": "groups",
        "roles": ROLES,
        "default_role": None,
    }
    process = await asyncio.create_subprocess_exec(
        str(node),
        str(PROVIDER),
        str(port),
        f"{url}/auth/oidc/corporate/callback",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        while await process.stdout.readline() != b"ready\n":
            assert process.returncode is None
        environment = {**HIGH_LIMITS, "PUBLIC_URL": url, "OIDC_PROVIDERS": json.dumps([settings])}
        async with DevStack(home, api_port=api_port, settings=environment) as stack:
            yield Corporate(issuer, stack, process)
            # Proves R-OBS-5: neither codes nor states are in what the services have written.
            assert await asyncio.to_thread(leaks.find_leaks, stack) == []
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture(scope="module")
async def corporate(
    tmp_path_factory: pytest.TempPathFactory, node: Path
) -> AsyncIterator[Corporate]:
    """One for the module."""
    async with opened(tmp_path_factory.mktemp("oidc"), node) as corporate:
        yield corporate


class Browser:
    """Follows redirects, keeps cookies, fills in the provider's forms."""

    def __init__(self, corporate: Corporate) -> None:
        self.http = httpx.AsyncClient(base_url=corporate.stack.url, timeout=30)
        self._corporate = corporate

    async def to_callback(self, name: str) -> str:
        """Where the provider sends the browser at last, after signing in as `name` there."""
        answer = await self.http.get(LOGIN)
        assert answer.status_code == 303, answer.text
        while True:
            while "location" in answer.headers:
                address = str(answer.url.join(answer.headers["location"]))
                if address.startswith(f"{self._corporate.stack.url}/"):
                    query = parse_qs(urlsplit(address).query)
                    leaks.OPAQUE_SECRETS.update(query.get("code", []) + query["state"])
                    return address
                answer = await self.http.get(address)
            assert answer.status_code == 200, answer.text
            form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', answer.text))
            action = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
            assert action is not None, answer.text
            if form["prompt"] == "login":
                form |= {"login": name, "password": "any"}
            answer = await self.http.post(action[1], data=form)

    async def sign_in(self, name: str) -> httpx.Response:
        """All of it; the last answer."""
        return await self.http.get(await self.to_callback(name))


@pytest.fixture
async def browser(corporate: Corporate) -> AsyncIterator[Browser]:
    """A new one, with no cookies."""
    browser = Browser(corporate)
    async with browser.http:
        yield browser


@pytest.fixture
async def admin(corporate: Corporate) -> AsyncIterator[ApiSession]:
    """The admin of the first start."""
    stack = corporate.stack
    async with open_api(stack.url) as api:
        yield api.session(stack.admin_username, stack.admin_password)


def somebody() -> str:
    return f"p{secrets.token_hex(4)}"


def bearer(answer: httpx.Response) -> dict[str, str]:
    leaks.OPAQUE_SECRETS.add(answer.json()["refresh_token"])
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_whoever_signs_in_elsewhere_has_an_account_here(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-30: made at the first sign-in, found again at the next, and used like any other."""
    name = somebody()
    email = f"{name}@example.org"
    await corporate.says(
        name, preferred_username=name, email=email, email_verified=True, groups=["drawers"]
    )
    first = await browser.sign_in(name)
    assert first.status_code == 200, first.text
    user = first.json()["user"]
    assert (user["username"], user["email"], user["role"]) == (name, email, "editor")
    me = await browser.http.get("/auth/me", headers=bearer(first))
    assert me.json() == user
    canvas = await browser.http.post(
        "/runtime/canvases/", json={"name": "mine"}, headers=bearer(first)
    )
    assert canvas.status_code == 201
    refresh = {"refresh_token": first.json()["refresh_token"]}
    assert (await browser.http.post("/auth/refresh", json=refresh)).status_code == 200
    again = await browser.sign_in(name)
    assert again.json()["user"]["id"] == user["id"]


async def test_the_browser_takes_with_it_what_it_must_and_no_more(browser: Browser) -> None:
    """Proves R-AUTH-31: PKCE, state and nonce are in the address; the cookie is out of reach of scripts."""
    for slash in ("", "/"):
        answer = await browser.http.get(LOGIN + slash)
        assert answer.status_code == 303
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["response_type"] == ["code"]
        assert all(len(query[name][0]) >= 43 for name in ("code_challenge", "state", "nonce"))
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith("svgx_browser=")
        assert {"httponly", "samesite=lax", "path=/auth/oidc", "max-age=600"} <= set(
            cookie.split("; ")
        )
        assert "secure" not in cookie  # this request came without TLS


async def test_both_pages_answer_as_described(corporate: Corporate, browser: Browser) -> None:
    """Proves R-CONTRACT-4."""
    document = (await browser.http.get("/openapi.json")).json()
    name = somebody()
    await corporate.says(name, groups=["readers"])
    for page in ("login", "callback"):
        path = await browser.to_callback(name) if page == "callback" else LOGIN
        entry = document["paths"][f"/auth/oidc/{{provider}}/{page}"]["get"]
        check_response(document, await browser.http.get(path), entry)
        check_response(document, await browser.http.get(path.replace("corporate", "nobody")), entry)
    described = document["paths"]["/auth/oidc/{provider}/callback"]["get"]["parameters"]
    parameters = {(each["in"], each["name"]) for each in described}
    assert {("cookie", "svgx_browser"), ("query", "state"), ("path", "provider")} <= parameters


async def test_a_sign_in_counts_once_and_in_its_browser(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-31: whoever gets hold of the address can do nothing with it, and spoils nothing."""
    name = somebody()
    await corporate.says(name, groups=["readers"])
    callback = await browser.to_callback(name)
    async with httpx.AsyncClient() as stranger:
        for cookies in ({}, {"svgx_browser": "x" * 43}):
            stranger.cookies = httpx.Cookies(cookies)
            refused = await stranger.get(callback)
            assert (refused.status_code, refused.json()["field"]) == (400, "state")
        stranger.cookies.clear()
        query = await stranger.get(f"{callback}&browser={browser.http.cookies['svgx_browser']}")
        assert query.status_code == 400
    spoilt = await browser.http.get(re.sub(r"state=[\w-]+", "state=another", callback))
    assert spoilt.status_code == 400
    assert (await browser.http.get(callback)).status_code == 200
    replayed = await browser.http.get(callback)
    assert (replayed.status_code, replayed.json()["code"]) == (400, "bad_request")


async def test_another_providers_answer_does_not_count(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-32: this provider promises to say who it is."""
    name = somebody()
    await corporate.says(name, groups=["readers"])
    for change in (r"&iss=[^&]+", r"iss=[^&]+&"):
        callback = await browser.to_callback(name)
        without = re.sub(change, "", callback)
        if without != callback:
            assert (await browser.http.get(without)).status_code == 401
    callback = await browser.to_callback(name)
    mixed = re.sub(r"iss=[^&]+", "iss=https://evil.example.org", callback)
    assert mixed != callback
    assert (await browser.http.get(mixed)).status_code == 401


async def test_who_gave_up_at_the_provider_is_not_signed_in(browser: Browser) -> None:
    """Proves R-AUTH-32."""
    answer = await browser.http.get(LOGIN)
    state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
    issuer = answer.headers["location"].partition("/auth?")[0]
    callback = "/auth/oidc/corporate/callback"
    query = {"state": state, "error": "access_denied", "iss": issuer}
    refused = await browser.http.get(callback, params=query)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


async def test_a_made_up_code_does_not_count(browser: Browser) -> None:
    """Proves R-AUTH-32: the provider is asked."""
    answer = await browser.http.get(LOGIN)
    state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
    issuer = answer.headers["location"].partition("/auth?")[0]
    query = {"state": state, "code": "made-up", "iss": issuer, "session_state": "ignored"}
    refused = await browser.http.get("/auth/oidc/corporate/callback", params=query)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


async def test_an_unknown_provider_is_not_found(browser: Browser) -> None:
    """Proves R-AUTH-30."""
    for page in ("login", "callback"):
        answer = await browser.http.get(f"/auth/oidc/nobody/{page}")
        assert (answer.status_code, answer.json()["field"]) == (404, "provider")


async def test_the_role_is_what_the_provider_says_at_each_sign_in(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-33: the highest that fits; a changed one ends the tokens of before; none lets nobody in."""
    name = somebody()
    await corporate.says(name, groups=["readers", "cooks", "drawers"])
    first = await browser.sign_in(name)
    assert first.json()["user"]["role"] == "editor"
    await corporate.says(name, groups=["readers"])
    second = await browser.sign_in(name)
    assert second.json()["user"]["role"] == "viewer"
    assert (await browser.http.get("/auth/me", headers=bearer(second))).status_code == 200
    async with asyncio.timeout(5):
        while (await browser.http.get("/auth/me", headers=bearer(first))).status_code != 401:
            pass
    await corporate.says(name, groups=["cooks"])
    refused = await browser.sign_in(name)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_who_has_lost_every_role_has_nothing_left(
    corporate: Corporate, browser: Browser, admin: ApiSession
) -> None:
    """Proves R-AUTH-39: role, session and tokens are gone with the refused sign-in; a key comes back with a role."""
    name = somebody()
    await corporate.says(name, groups=["owners"])
    first = await browser.sign_in(name)
    user_id = first.json()["user"]["id"]
    made = await browser.http.post("/auth/api-keys/", json={"name": "robot"}, headers=bearer(first))
    key = made.json()["key"]
    leaks.OPAQUE_SECRETS.add(key)
    robot = {"X-API-Key": key}
    assert (await browser.http.get("/admin/users/", headers=robot)).status_code == 200

    await corporate.says(name, groups=["cooks"])
    assert (await browser.sign_in(name)).status_code == 403
    async with asyncio.timeout(5):
        for headers in (bearer(first), robot):
            while (await browser.http.get("/auth/me", headers=headers)).status_code != 401:
                pass
    token = {"refresh_token": first.json()["refresh_token"]}
    assert (await browser.http.post("/auth/refresh", json=token)).status_code == 401
    now = (await admin.request("GET", f"/admin/users/{user_id}")).json()
    assert (now["role"], now["disabled"]) == ("viewer", False)
    found = await admin.request("GET", "/admin/audit/", params={"user_id": user_id})
    entries = {each["event"]: each["detail"] for each in found.json()["items"]}
    assert entries["identity_refused"] == {"provider": "corporate"}
    assert entries["role_changed"] == {"from": "admin", "to": "viewer"}

    await corporate.says(name, groups=["drawers"])
    assert (await browser.sign_in(name)).json()["user"]["role"] == "editor"
    async with asyncio.timeout(20):  # a gateway remembers for a while that a key is none
        while (await browser.http.get("/auth/me", headers=robot)).status_code != 200:
            pass
    assert (await browser.http.get("/admin/users/", headers=robot)).status_code == 403


async def test_a_name_that_is_taken_gives_nobodys_account_away(
    corporate: Corporate, browser: Browser, admin: ApiSession
) -> None:
    """Proves R-AUTH-34: neither by username nor by address, verified or not."""
    name = somebody()
    local = await admin.create_user(name)
    for verified in (True, False):
        other = somebody()
        await corporate.says(
            other,
            preferred_username=name,
            email=f"{name}@example.org",
            email_verified=verified,
            groups=["drawers"],
        )
        user = (await browser.sign_in(other)).json()["user"]
        assert user["id"] != local.id
        assert user["username"].startswith("corporate-")
        assert user["email"] == f"{user['id']}@corporate.invalid"
        browser.http.cookies.clear()


async def test_an_unverified_address_is_not_taken_over(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-34: its owner may want it."""
    name = somebody()
    await corporate.says(name, email="owner@example.net", groups=["readers"])
    user = (await browser.sign_in(name)).json()["user"]
    assert user["email"].endswith("@corporate.invalid")


async def test_who_is_disabled_or_deleted_here_stays_out(
    corporate: Corporate, browser: Browser, admin: ApiSession
) -> None:
    """Proves R-AUTH-34: whatever the provider says."""
    name = somebody()
    await corporate.says(name, preferred_username=name, groups=["drawers"])
    user_id = (await browser.sign_in(name)).json()["user"]["id"]
    path = f"/admin/users/{user_id}"
    await admin.request("PATCH", path, json={"disabled": True})
    assert (await browser.sign_in(name)).status_code == 403
    await admin.request("PATCH", path, json={"disabled": False})
    assert (await browser.sign_in(name)).status_code == 200
    await admin.request("DELETE", path)
    assert (await browser.sign_in(name)).status_code == 403


async def test_an_account_from_elsewhere_has_no_password(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-34: none opens it, none changes it."""
    name = somebody()
    await corporate.says(name, preferred_username=name, groups=["drawers"])
    signed_in = await browser.sign_in(name)
    for password in ("None", "null", " ", f"{leaks.PASSWORD_PREFIX}{name}"):
        body = {"username": name, "password": password}
        assert (await browser.http.post("/auth/login", json=body)).status_code == 401
    body = {"old_password": "None", "new_password": "seven teal lanterns over Delft"}
    answer = await browser.http.post("/auth/password", json=body, headers=bearer(signed_in))
    assert answer.status_code == 403


async def test_sign_ins_elsewhere_are_in_the_audit_log(
    corporate: Corporate, browser: Browser, admin: ApiSession
) -> None:
    """Proves R-AUTH-21."""
    name = somebody()
    await corporate.says(name, groups=["drawers"])
    user_id = (await browser.sign_in(name)).json()["user"]["id"]
    found = await admin.request("GET", "/admin/audit/", params={"user_id": user_id})
    entries = {each["event"]: each["detail"] for each in found.json()["items"]}
    assert entries["user_created"] == {"role": "editor"}
    assert entries["identity_linked"] == {"provider": "corporate", "subject": name}
    assert entries["log_in"] == {"provider": "corporate"}
    await browser.http.get("/auth/oidc/corporate/callback", params={"state": "none"})
    found = await admin.request(
        "GET", "/admin/audit/", params={"event": "log_in_failed", "limit": 1}
    )
    assert found.json()["items"][0]["detail"]["provider"] == "corporate"


async def test_without_the_provider_the_rest_goes_on(
    tmp_path: Path, node: Path, admin: ApiSession
) -> None:
    """Proves R-AUTH-35: 503 for who would sign in there, at the callback as at the start."""
    async with opened(tmp_path, node) as other:
        browser = Browser(other)
        async with browser.http:
            await other.says("ada", groups=["drawers"])
            callback = await browser.to_callback("ada")
            other.process.kill()
            await other.process.wait()
            away = await browser.http.get(callback)
            assert (away.status_code, away.json()["code"]) == (503, "unavailable")
            assert "retry-after" in away.headers
            stack = other.stack
            auth = stack.process("auth")
            await auth.stop()
            await auth.start()
            await auth.wait_ready()
            for _ in range(10):
                assert (await browser.http.get(LOGIN)).status_code == 503
            body = {"username": stack.admin_username, "password": stack.admin_password}
            assert (await browser.http.post("/auth/login", json=body)).status_code == 200


async def test_a_session_from_elsewhere_has_our_times(
    corporate: Corporate, browser: Browser
) -> None:
    """Proves R-AUTH-30: it lasts as others do, whatever the provider says meanwhile; then that one is asked again."""
    name = somebody()
    await corporate.says(name, groups=["drawers"])
    signed_in = await browser.sign_in(name)
    listed = await browser.http.get("/auth/sessions/", headers=bearer(signed_in))
    (session,) = listed.json()["items"]
    created, ends = (datetime.fromisoformat(session[each]) for each in ("created_at", "expires_at"))
    assert abs(ends - created - timedelta(days=30)) < timedelta(seconds=5)
    await corporate.says(name, groups=["cooks"])
    token = {"refresh_token": signed_in.json()["refresh_token"]}
    renewed = await browser.http.post("/auth/refresh", json=token)
    assert renewed.json()["user"]["role"] == "editor"
    await browser.http.post("/auth/logout", headers=bearer(renewed))
    token = {"refresh_token": renewed.json()["refresh_token"]}
    assert (await browser.http.post("/auth/refresh", json=token)).status_code == 401
    assert (await browser.sign_in(name)).status_code == 403
