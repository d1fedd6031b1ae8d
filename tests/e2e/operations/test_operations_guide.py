"""An operator's curl commands for health, metrics, users and rate limits.

`tests/deploy/operations` runs the commands of `docs/operations.md` themselves.
"""

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


def curl_request(command: str, url: str, token: str) -> httpx.Request:
    """Return the request that curl would send for the command, to the server at `url` and with this access token."""
    for name in ("$ADMIN_TOKEN", "$TOKEN"):
        command = command.replace(name, token)
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-X", default="GET")
    parser.add_argument("-d")
    parser.add_argument("-f", action="store_true")
    parser.add_argument("url")
    arguments = parser.parse_args(shlex.split(command)[1:])
    headers = [tuple(header.split(": ", 1)) for header in arguments.H]
    address = arguments.url.replace("http://localhost:8000", url)
    return httpx.Request(arguments.X, address, headers=headers, content=arguments.d)


@pytest.mark.parametrize(("command", "status"), [*HEALTH, *USERS, *RATE_LIMITS])
async def test_curl_command_succeeds(workspace: Workspace, command: str, status: int) -> None:
    """The commands of an admin succeed, without a redirect. Proves R-ACCESS-8 and R-HTTP-1."""
    admin = workspace.api.session(workspace.stack.admin_username, workspace.stack.admin_password)
    # Another test on the shared stack may also create the user of the command.
    command = command.replace("admin@example.com", "guided@example.com")
    async with httpx.AsyncClient(timeout=30) as http:
        response = await http.send(
            curl_request(command, workspace.stack.url, await admin.access_token())
        )
    assert response.status_code == status, response.text
