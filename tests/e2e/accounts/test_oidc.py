"""Sign-in with an OpenID Connect provider."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from svgx_devstack import DevStack
from tests import leaks
from tests.e2e.clients.api import ApiSession, open_api
from tests.e2e.clients.oidc import LOGIN_PATH, Browser, OidcStack, start_oidc_stack
from tests.e2e.clients.openapi_document import check_response
from tests.polling import REQUEST_POLL_SECONDS, pause


@pytest.fixture(scope="module")
async def oidc(tmp_path_factory: pytest.TempPathFactory, node: Path) -> AsyncIterator[OidcStack]:
    """Start a provider and a stack that uses it."""
    async with start_oidc_stack(tmp_path_factory.mktemp("oidc"), node) as oidc:
        yield oidc


@pytest.fixture
async def browser(oidc: OidcStack) -> AsyncIterator[Browser]:
    """Return a browser without cookies."""
    browser = Browser(oidc)
    async with browser.http:
        yield browser


@pytest.fixture
async def admin(oidc: OidcStack) -> AsyncIterator[ApiSession]:
    """Return a session of the stack's admin."""
    stack = oidc.stack
    async with open_api(stack.url) as api:
        yield api.session(stack.admin_username, stack.admin_password)


def new_name() -> str:
    """Return a new user name for the provider."""
    return f"p{secrets.token_hex(4)}"


def bearer(response: httpx.Response) -> dict[str, str]:
    """Return request headers with the access token of a sign-in response."""
    leaks.OPAQUE_SECRETS.add(response.json()["refresh_token"])
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


async def test_oidc_sign_in_creates_an_account_once(oidc: OidcStack, browser: Browser) -> None:
    """The first sign-in creates the account, and later sign-ins use it. Proves R-AUTH-30."""
    name = new_name()
    email = f"{name}@example.org"
    await oidc.set_claims(
        name, preferred_username=name, email=email, email_verified=True, groups=["editors"]
    )
    first = await browser.login(name)
    assert first.status_code == 200, first.text
    user = first.json()["user"]
    assert (user["username"], user["email"], user["role"]) == (name, email, "editor")
    me = await browser.http.get("/auth/me", headers=bearer(first))
    assert me.json() == user
    created = await browser.http.post(
        "/runtime/canvases/", json={"name": "mine"}, headers=bearer(first)
    )
    assert created.status_code == 201
    refresh = {"refresh_token": first.json()["refresh_token"]}
    assert (await browser.http.post("/auth/refresh", json=refresh)).status_code == 200
    again = await browser.login(name)
    assert again.json()["user"]["id"] == user["id"]


async def test_oidc_sign_in_redirects_with_pkce_state_and_nonce(browser: Browser) -> None:
    """The URL has PKCE, state and nonce; scripts cannot read the cookie. Proves R-AUTH-31."""
    for slash in ("", "/"):
        response = await browser.http.get(LOGIN_PATH + slash)
        assert response.status_code == 303
        query = parse_qs(urlsplit(response.headers["location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["response_type"] == ["code"]
        assert all(len(query[name][0]) >= 43 for name in ("code_challenge", "state", "nonce"))
        cookie = response.headers["set-cookie"].lower()
        assert cookie.startswith("svgx_browser=")
        assert {"httponly", "samesite=lax", "path=/auth/oidc", "max-age=600"} <= set(
            cookie.split("; ")
        )
        assert "secure" not in cookie  # because this request came without TLS


async def test_oidc_pages_match_the_openapi_document(oidc: OidcStack, browser: Browser) -> None:
    """The responses of the login and callback pages match the document, also for an unknown provider.

    Proves R-CONTRACT-4.
    """
    document = (await browser.http.get("/openapi.json")).json()
    name = new_name()
    await oidc.set_claims(name, groups=["readers"])
    for page in ("login", "callback"):
        path = await browser.authorize(name) if page == "callback" else LOGIN_PATH
        entry = document["paths"][f"/auth/oidc/{{provider}}/{page}"]["get"]
        check_response(document, await browser.http.get(path), entry)
        check_response(
            document, await browser.http.get(path.replace("corporate", "unknown")), entry
        )
    described = document["paths"]["/auth/oidc/{provider}/callback"]["get"]["parameters"]
    parameters = {(each["in"], each["name"]) for each in described}
    assert {("cookie", "svgx_browser"), ("query", "state"), ("path", "provider")} <= parameters


async def test_oidc_callback_works_once_and_only_in_its_browser(
    oidc: OidcStack, browser: Browser
) -> None:
    """A stranger with the callback URL is refused, and the sign-in still works. Proves R-AUTH-31."""
    name = new_name()
    await oidc.set_claims(name, groups=["readers"])
    callback = await browser.authorize(name)
    async with httpx.AsyncClient(timeout=60) as stranger:
        for cookies in ({}, {"svgx_browser": "x" * 43}):
            stranger.cookies = httpx.Cookies(cookies)
            refused = await stranger.get(callback)
            assert (refused.status_code, refused.json()["field"]) == (400, "state")
        stranger.cookies.clear()
        response = await stranger.get(f"{callback}&browser={browser.http.cookies['svgx_browser']}")
        assert response.status_code == 400
    wrong_state = await browser.http.get(re.sub(r"state=[\w-]+", "state=another", callback))
    assert wrong_state.status_code == 400
    assert (await browser.http.get(callback)).status_code == 200
    replayed = await browser.http.get(callback)
    assert (replayed.status_code, replayed.json()["code"]) == (400, "bad_request")


async def test_oidc_callback_of_another_issuer_is_refused(
    oidc: OidcStack, browser: Browser
) -> None:
    """A callback without `iss` is refused too, because the provider announces that it sends `iss`. Proves R-AUTH-32."""
    name = new_name()
    await oidc.set_claims(name, groups=["readers"])
    for pattern in (r"&iss=[^&]+", r"iss=[^&]+&"):
        callback = await browser.authorize(name)
        without_issuer = re.sub(pattern, "", callback)
        if without_issuer != callback:
            assert (await browser.http.get(without_issuer)).status_code == 401
    callback = await browser.authorize(name)
    foreign_issuer = re.sub(r"iss=[^&]+", "iss=https://evil.example.org", callback)
    assert foreign_issuer != callback
    assert (await browser.http.get(foreign_issuer)).status_code == 401


async def test_oidc_callback_with_an_error_is_refused(browser: Browser) -> None:
    """A user that cancels the sign-in at the provider returns with an error, and gets 401. Proves R-AUTH-32."""
    response = await browser.http.get(LOGIN_PATH)
    state = parse_qs(urlsplit(response.headers["location"]).query)["state"][0]
    issuer = response.headers["location"].partition("/auth?")[0]
    callback = "/auth/oidc/corporate/callback"
    query = {"state": state, "error": "access_denied", "iss": issuer}
    refused = await browser.http.get(callback, params=query)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


async def test_oidc_callback_with_an_invalid_code_is_refused(browser: Browser) -> None:
    """The provider refuses the code, and the client gets 401. Proves R-AUTH-32."""
    response = await browser.http.get(LOGIN_PATH)
    state = parse_qs(urlsplit(response.headers["location"]).query)["state"][0]
    issuer = response.headers["location"].partition("/auth?")[0]
    query = {"state": state, "code": "made-up", "iss": issuer, "session_state": "ignored"}
    refused = await browser.http.get("/auth/oidc/corporate/callback", params=query)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


async def test_unknown_oidc_provider_gets_404(browser: Browser) -> None:
    """The error of the pages `login` and `callback` names the field `provider`. Proves R-HTTP-2."""
    for page in ("login", "callback"):
        response = await browser.http.get(f"/auth/oidc/unknown/{page}")
        assert (response.status_code, response.json()["field"]) == (404, "provider")


async def test_oidc_sign_in_sets_the_role_each_time(oidc: OidcStack, browser: Browser) -> None:
    """The highest matching role applies, a change revokes older tokens, and a sign-in without a role is refused.

    Proves R-AUTH-33.
    """
    name = new_name()
    await oidc.set_claims(name, groups=["readers", "cooks", "editors"])
    first = await browser.login(name)
    assert first.json()["user"]["role"] == "editor"
    await oidc.set_claims(name, groups=["readers"])
    second = await browser.login(name)
    assert second.json()["user"]["role"] == "viewer"
    assert (await browser.http.get("/auth/me", headers=bearer(second))).status_code == 200
    async with asyncio.timeout(5):
        while (await browser.http.get("/auth/me", headers=bearer(first))).status_code != 401:
            await pause(REQUEST_POLL_SECONDS)
    await oidc.set_claims(name, groups=["cooks"])
    refused = await browser.login(name)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_oidc_sign_in_without_a_role_removes_the_role_and_ends_session_and_tokens(
    oidc: OidcStack, browser: Browser, admin: ApiSession
) -> None:
    """The refused sign-in sets the role to `viewer`, and ends session and tokens.

    The API key is suspended until a later sign-in assigns a role. Proves R-AUTH-39.
    """
    name = new_name()
    await oidc.set_claims(name, groups=["admins"])
    first = await browser.login(name)
    user_id = first.json()["user"]["id"]
    created = await browser.http.post(
        "/auth/api-keys/", json={"name": "robot"}, headers=bearer(first)
    )
    key = created.json()["key"]
    leaks.OPAQUE_SECRETS.add(key)
    api_key = {"X-API-Key": key}
    assert (await browser.http.get("/admin/users/", headers=api_key)).status_code == 200

    await oidc.set_claims(name, groups=["cooks"])
    assert (await browser.login(name)).status_code == 403
    async with asyncio.timeout(5):
        for headers in (bearer(first), api_key):
            while (await browser.http.get("/auth/me", headers=headers)).status_code != 401:
                await pause(REQUEST_POLL_SECONDS)
    token = {"refresh_token": first.json()["refresh_token"]}
    assert (await browser.http.post("/auth/refresh", json=token)).status_code == 401
    account = (await admin.request("GET", f"/admin/users/{user_id}")).json()
    assert (account["role"], account["disabled"]) == ("viewer", False)
    entries_page = await admin.request("GET", "/admin/audit/", params={"user_id": user_id})
    entries = {each["event"]: each["detail"] for each in entries_page.json()["items"]}
    assert entries["identity_refused"] == {"provider": "corporate"}
    assert entries["role_changed"] == {"from": "admin", "to": "viewer"}

    await oidc.set_claims(name, groups=["editors"])
    assert (await browser.login(name)).json()["user"]["role"] == "editor"
    async with asyncio.timeout(20):  # a gateway caches the refusal of the key for some seconds
        while (await browser.http.get("/auth/me", headers=api_key)).status_code != 200:
            await pause(REQUEST_POLL_SECONDS)
    assert (await browser.http.get("/admin/users/", headers=api_key)).status_code == 403


async def test_oidc_sign_in_with_a_taken_name_creates_another_account(
    oidc: OidcStack, browser: Browser, admin: ApiSession
) -> None:
    """An equal username or email address, verified or not, links no sign-in to an account. Proves R-AUTH-34."""
    name = new_name()
    local_user = await admin.create_user(name)
    for verified in (True, False):
        other = new_name()
        await oidc.set_claims(
            other,
            preferred_username=name,
            email=f"{name}@example.org",
            email_verified=verified,
            groups=["editors"],
        )
        user = (await browser.login(other)).json()["user"]
        assert user["id"] != local_user.id
        assert user["username"].startswith("corporate-")
        assert user["email"] == f"{user['id']}@corporate.invalid"
        browser.http.cookies.clear()


async def test_oidc_sign_in_with_an_unverified_address_gets_a_placeholder_address(
    oidc: OidcStack, browser: Browser
) -> None:
    """An address that the provider has not verified does not become the account's address. Proves R-AUTH-38."""
    name = new_name()
    await oidc.set_claims(name, email="owner@example.net", groups=["readers"])
    user = (await browser.login(name)).json()["user"]
    assert user["email"].endswith("@corporate.invalid")


async def test_oidc_sign_in_of_a_disabled_or_deleted_account_is_refused(
    oidc: OidcStack, browser: Browser, admin: ApiSession
) -> None:
    """A sign-in at the provider does not enable or restore an account. Proves R-AUTH-34."""
    name = new_name()
    await oidc.set_claims(name, preferred_username=name, groups=["editors"])
    user_id = (await browser.login(name)).json()["user"]["id"]
    path = f"/admin/users/{user_id}"
    await admin.request("PATCH", path, json={"disabled": True})
    assert (await browser.login(name)).status_code == 403
    await admin.request("PATCH", path, json={"disabled": False})
    assert (await browser.login(name)).status_code == 200
    await admin.request("DELETE", path)
    assert (await browser.login(name)).status_code == 403


async def test_oidc_account_has_no_password(oidc: OidcStack, browser: Browser) -> None:
    """No password is accepted at log-in, and the user cannot set a password. Proves R-AUTH-34."""
    name = new_name()
    await oidc.set_claims(name, preferred_username=name, groups=["editors"])
    tokens_response = await browser.login(name)
    for password in ("None", "null", " ", f"{leaks.PASSWORD_PREFIX}{name}"):
        body = {"username": name, "password": password}
        assert (await browser.http.post("/auth/login", json=body)).status_code == 401
    body = {"old_password": "None", "new_password": "seven teal lanterns over Delft"}
    response = await browser.http.post("/auth/password", json=body, headers=bearer(tokens_response))
    assert response.status_code == 403


async def test_oidc_sign_ins_are_in_the_audit_log(
    oidc: OidcStack, browser: Browser, admin: ApiSession
) -> None:
    """Accepted and failed sign-ins have entries with the name of the provider. Proves R-AUTH-21."""
    name = new_name()
    await oidc.set_claims(name, groups=["editors"])
    user_id = (await browser.login(name)).json()["user"]["id"]
    entries_page = await admin.request("GET", "/admin/audit/", params={"user_id": user_id})
    entries = {each["event"]: each["detail"] for each in entries_page.json()["items"]}
    assert entries["user_created"] == {"role": "editor"}
    assert entries["identity_linked"] == {"provider": "corporate", "subject": name}
    assert entries["log_in"] == {"provider": "corporate"}
    await browser.http.get("/auth/oidc/corporate/callback", params={"state": "none"})
    entries_page = await admin.request(
        "GET", "/admin/audit/", params={"event": "log_in_failed", "limit": 1}
    )
    assert entries_page.json()["items"][0]["detail"]["provider"] == "corporate"


@pytest.mark.parametrize("cause", ["disabled", "deleted", "without a role", "without an account"])
async def test_refused_oidc_sign_in_has_the_account_as_target_in_the_audit_log(
    oidc: OidcStack, browser: Browser, admin: ApiSession, cause: str
) -> None:
    """Proves R-AUTH-21: the entry names the account of the identity, if there is one.

    So an erasure of the account also empties the address in this entry.
    """
    name, user_id = new_name(), None
    if cause != "without an account":
        await oidc.set_claims(name, groups=["editors"])
        user_id = (await browser.login(name)).json()["user"]["id"]
    if cause == "disabled":
        await admin.request("PATCH", f"/admin/users/{user_id}", json={"disabled": True})
    elif cause == "deleted":
        await admin.request("DELETE", f"/admin/users/{user_id}")
    else:
        await oidc.set_claims(name, groups=["cooks"])
    assert (await browser.login(name)).status_code == 403
    entries_page = await admin.request(
        "GET", "/admin/audit/", params={"event": "log_in_failed", "limit": 1}
    )
    (entry,) = entries_page.json()["items"]
    assert (entry["user_id"], entry["detail"]["provider"]) == (user_id, "corporate")


async def test_unavailable_oidc_provider_gets_503_and_password_log_ins_work(
    oidc: OidcStack, browser: Browser
) -> None:
    """Both OIDC pages return status 503, and log-ins with a password work. Proves R-AUTH-35.

    After the provider and auth have started again, the user can sign in.
    """
    name = new_name()
    await oidc.set_claims(name, groups=["editors"])
    callback = await browser.authorize(name)
    await oidc.provider.kill()
    unavailable = await browser.http.get(callback)
    assert (unavailable.status_code, unavailable.json()["code"]) == (503, "unavailable")
    assert "retry-after" in unavailable.headers
    await restart_auth(oidc.stack)
    for _ in range(10):
        assert (await browser.http.get(LOGIN_PATH)).status_code == 503
    body = {"username": oidc.stack.admin_username, "password": oidc.stack.admin_password}
    assert (await browser.http.post("/auth/login", json=body)).status_code == 200
    await oidc.provider.start()
    await restart_auth(oidc.stack)
    await oidc.set_claims(name, groups=["editors"])
    assert (await browser.login(name)).status_code == 200


async def restart_auth(stack: DevStack) -> None:
    """Restart the auth service, and wait until it is ready.

    The new process has neither the provider's metadata nor the time of the provider's last failure.
    """
    auth = stack.process("auth")
    await auth.stop()
    await auth.start()
    await auth.wait_ready()


async def test_oidc_session_lasts_as_long_as_a_password_session(
    oidc: OidcStack, browser: Browser
) -> None:
    """A session lasts 30 days and is refreshed without the provider. Only a new sign-in asks the provider.

    Proves R-AUTH-30.
    """
    name = new_name()
    await oidc.set_claims(name, groups=["editors"])
    tokens_response = await browser.login(name)
    listed = await browser.http.get("/auth/sessions/", headers=bearer(tokens_response))
    (session,) = listed.json()["items"]
    created, ends = (datetime.fromisoformat(session[each]) for each in ("created_at", "expires_at"))
    assert abs(ends - created - timedelta(days=30)) < timedelta(seconds=5)
    await oidc.set_claims(name, groups=["cooks"])
    token = {"refresh_token": tokens_response.json()["refresh_token"]}
    renewed = await browser.http.post("/auth/refresh", json=token)
    assert renewed.json()["user"]["role"] == "editor"
    await browser.http.post("/auth/logout", headers=bearer(renewed))
    token = {"refresh_token": renewed.json()["refresh_token"]}
    assert (await browser.http.post("/auth/refresh", json=token)).status_code == 401
    assert (await browser.login(name)).status_code == 403
