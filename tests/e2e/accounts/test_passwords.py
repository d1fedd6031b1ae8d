"""Password lengths, and exact comparison of passwords."""

import httpx
import pytest

from tests import leaks
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace

ADDRESS, OTHER_ADDRESS = "192.0.2.71", "198.51.100.71"
"""Addresses of clients. Failures at `OTHER_ADDRESS` do not delay log-ins at `ADDRESS`, because the account has
had a session at `ADDRESS`."""


async def create_account(workspace: Workspace, name: str, password: str) -> httpx.Response:
    """Create an account with this password, and return the response."""
    body = {
        "username": name,
        "email": f"{name}@example.org",
        "password": password,
        "role": "viewer",
    }
    return await workspace.admin.request("POST", "/admin/users/", json=body)


async def login_status(
    workspace: Workspace, name: str, password: str, address: str = ADDRESS
) -> int:
    """Log in, and return the status of the response."""
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=30) as http:
        body = {"username": name, "password": password}
        headers = {"X-Forwarded-For": address}
        response = await http.post("/auth/login", json=body, headers=headers)
    if response.is_success:
        leaks.OPAQUE_SECRETS.add(response.json()["refresh_token"])
    return response.status_code


WORDS = f"{leaks.PASSWORD_PREFIX}Éloïse, 7 teal lanterns over Delft "


@pytest.mark.parametrize("length", [12, 64, 72, 73, 128, 1024])
async def test_password_of_allowed_length_is_accepted_and_compared_completely(
    workspace: Workspace, length: int
) -> None:
    """All characters of the password count, including the last one. Proves R-AUTH-14."""
    name = f"length-{length}"
    password = ("Qj7 vW#zpK4 " + WORDS * 40)[:length]
    password = password[:-1] + "x"
    leaks.OPAQUE_SECRETS.add(password)
    assert (await create_account(workspace, name, password)).status_code == 201
    assert await login_status(workspace, name, password[:-1] + "y") == 401
    assert await login_status(workspace, name, password[:-1]) == 401
    assert await login_status(workspace, name, password) == 200


@pytest.mark.parametrize("length", [0, 1, 8, 11, 1025])
async def test_password_of_forbidden_length_gets_422(workspace: Workspace, length: int) -> None:
    """Each operation that sets a password requires 12 to 1024 characters. Proves R-AUTH-14."""
    password = ("Qj7 vW#zpK4 " + WORDS * 40)[:length]
    response = await create_account(workspace, f"length-{length}", password)
    assert check_problem(response, 422, "invalid")["field"] == "password"
    user = await workspace.create_user("viewer")
    body = {"old_password": user.password, "new_password": password}
    response = await workspace.api.session_of(user).request("POST", "/auth/password", json=body)
    assert check_problem(response, 422, "invalid")["field"] == "new_password"
    response = await workspace.admin.request(
        "PATCH", f"/admin/users/{user.id}", json={"password": password}
    )
    assert check_problem(response, 422, "invalid")["field"] == "password"


async def test_password_is_compared_exactly(workspace: Workspace) -> None:
    """Case, spaces and accents all count; Unicode composition does not. Proves R-AUTH-14 and R-AUTH-42."""
    name, password = "exact", f" {WORDS}"
    assert (await create_account(workspace, name, password)).status_code == 201
    assert await login_status(workspace, name, password) == 200
    variants = {
        password.upper(),
        password.lower(),
        password.strip(),
        password.replace(" ", "  "),
        password.replace("É", "E"),
    }
    assert len(variants - {password}) == 5
    for variant in variants:
        assert await login_status(workspace, name, variant, OTHER_ADDRESS) == 401
    for typed in (password, password.replace("É", "E\N{COMBINING ACUTE ACCENT}")):
        leaks.OPAQUE_SECRETS.add(typed)
        assert await login_status(workspace, name, typed) == 200
