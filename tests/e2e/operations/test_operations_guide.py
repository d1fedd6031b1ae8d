"""The operations guide's curl commands, as they are written there, but for the server's address."""

import argparse
import shlex

import httpx
import pytest

from tests.e2e.clients.workspace import Workspace

HEALTH = [
    ("curl -f http://localhost:8000/health/", 200),
    ('curl -H "Authorization: Bearer $TOKEN" http://localhost:8000/health/summary/', 200),
    ("curl http://localhost:8000/metrics/prometheus", 200),
]
RATE_LIMITS = [
    (
        'curl -H "Authorization: Bearer $TOKEN" http://localhost:8000/security/rate-limits/analytics/',
        200,
    ),
    (
        'curl -H "Authorization: Bearer $TOKEN" http://localhost:8000/security/rate-limits/config/',
        200,
    ),
]
USERS = [
    (
        """curl -X POST \
  -H "Authorization: Bearer $ADMIN_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "username": "admin@example.com",
    "email": "admin@example.com",
    "password": "secure_password",
    "role": "admin"
  }' \
  http://localhost:8000/admin/users/""",
        201,
    ),
    ('curl -H "Authorization: Bearer $ADMIN_TOKEN" http://localhost:8000/admin/users/', 200),
]


def request(command: str, url: str, token: str) -> httpx.Request:
    """What curl would send."""
    for name in ("$ADMIN_TOKEN", "$TOKEN"):
        command = command.replace(name, token)
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-X", default="GET")
    parser.add_argument("-d")
    parser.add_argument("-f", action="store_true")
    parser.add_argument("url")
    said = parser.parse_args(shlex.split(command)[1:])
    headers = [tuple(each.split(": ", 1)) for each in said.H]
    address = said.url.replace("http://localhost:8000", url)
    return httpx.Request(said.X, address, headers=headers, content=said.d)


@pytest.mark.parametrize(("command", "status"), [*HEALTH, *USERS, *RATE_LIMITS])
async def test_a_command_of_the_guide(workspace: Workspace, command: str, status: int) -> None:
    """Proves R-HTTP-1: with an admin's token, and what the guide shows as a body."""
    admin = workspace.api.session(workspace.stack.admin_username, workspace.stack.admin_password)
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.send(request(command, workspace.stack.url, await admin.access_token()))
    assert answer.status_code == status, answer.text
