"""Passwords as people send them: how long, and that they count exactly so."""

import httpx
import pytest

from tests import leaks
from tests.e2e.clients.problems import check_problem
from tests.e2e.clients.workspace import Workspace

HOME, ELSEWHERE = "192.0.2.71", "198.51.100.71"


async def made(workspace: Workspace, name: str, password: str) -> httpx.Response:
    """The answer to whoever makes an account with this password."""
    body = {
        "username": name,
        "email": f"{name}@example.org",
        "password": password,
        "role": "viewer",
    }
    return await workspace.admin.request("POST", "/admin/users/", json=body)


async def signed_in(workspace: Workspace, name: str, password: str, address: str = HOME) -> int:
    """The status of a log-in."""
    async with httpx.AsyncClient(base_url=workspace.stack.url, timeout=30) as http:
        body = {"username": name, "password": password}
        headers = {"X-Forwarded-For": address}
        answer = await http.post("/auth/login", json=body, headers=headers)
    if answer.is_success:
        leaks.OPAQUE_SECRETS.add(answer.json()["refresh_token"])
    return answer.status_code


WORDS = f"{leaks.PASSWORD_PREFIX}Éloïse, 7 teal lanterns over Delft "


@pytest.mark.parametrize("length", [12, 64, 72, 73, 128, 1024])
async def test_these_lengths_are_taken(workspace: Workspace, length: int) -> None:
    """Proves R-AUTH-14: and every character counts, the last one too."""
    name = f"length-{length}"
    password = ("Qj7 vW#zpK4 " + WORDS * 40)[:length]
    password = password[:-1] + "x"
    leaks.OPAQUE_SECRETS.add(password)
    assert (await made(workspace, name, password)).status_code == 201
    assert await signed_in(workspace, name, password[:-1] + "y") == 401
    assert await signed_in(workspace, name, password[:-1]) == 401
    assert await signed_in(workspace, name, password) == 200


@pytest.mark.parametrize("length", [0, 1, 8, 11, 1025])
async def test_these_lengths_are_not(workspace: Workspace, length: int) -> None:
    """Proves R-AUTH-14: 12 characters and 1024 are the bounds, wherever a password is chosen."""
    password = ("Qj7 vW#zpK4 " + WORDS * 40)[:length]
    answer = await made(workspace, f"length-{length}", password)
    assert check_problem(answer, 422, "invalid")["field"] == "password"
    user = await workspace.create_user("viewer")
    body = {"old_password": user.password, "new_password": password}
    answer = await workspace.api.session_of(user).request("POST", "/auth/password", json=body)
    assert check_problem(answer, 422, "invalid")["field"] == "new_password"
    answer = await workspace.admin.request(
        "PATCH", f"/admin/users/{user.id}", json={"password": password}
    )
    assert check_problem(answer, 422, "invalid")["field"] == "password"


async def test_a_password_counts_as_it_was_sent(workspace: Workspace) -> None:
    """Proves R-AUTH-14: neither case nor blanks, accents or the form of a letter are changed."""
    name, password = "exactly", f" {WORDS}"
    assert (await made(workspace, name, password)).status_code == 201
    assert await signed_in(workspace, name, password) == 200
    others = {
        password.upper(),
        password.lower(),
        password.strip(),
        password.replace(" ", "  "),
        password.replace("É", "E\N{COMBINING ACUTE ACCENT}"),
    }
    assert len(others - {password}) == 5
    for other in others:
        assert await signed_in(workspace, name, other, ELSEWHERE) == 401
    assert await signed_in(workspace, name, password) == 200
