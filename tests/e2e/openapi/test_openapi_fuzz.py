"""Schemathesis runs all checks against the running services, without a token and with each role.

The phase `coverage` would send 80 % of all requests, so only `make fuzz` runs it. The phase `examples` takes two thirds
of the remaining time, so `make test` runs it for one role only. `test_role_matrix.py` sends the examples as each role.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from svgx_devstack import DevStack
from tests.e2e.clients.api import Api, ApiSession, open_api

FOLDER = Path(__file__).parent
EXAMPLES = os.environ.get("SVGX_FUZZ_EXAMPLES", "1")
"""Number of requests for each operation and phase. `make fuzz` sends more."""

PHASES = os.environ.get("SVGX_FUZZ_PHASES")
"""The phases of schemathesis for each role, in `make fuzz`."""

pytestmark = pytest.mark.timeout(140 + 20 * int(EXAMPLES))

SECRET_NAME = "a secret plan"
"""The name of a canvas that only its owner and admins may see."""


@pytest.fixture(scope="module")
async def api(changed_stack: DevStack) -> AsyncIterator[Api]:
    """Open a client for the gateway of a stack that the test may change."""
    async with open_api(changed_stack.url) as api:
        yield api


@pytest.fixture(scope="module")
async def owner(changed_stack: DevStack, api: Api) -> ApiSession:
    """Create an account with a canvas that no other account may see, except admins."""
    admin = api.session(changed_stack.admin_username, changed_stack.admin_password)
    owner = api.session_of(await admin.create_user("the-owner"))
    await owner.create_canvas(SECRET_NAME)
    return owner


@pytest.mark.parametrize("role", ["anonymous", "viewer", "editor", "admin"])
async def test_responses_to_fuzzed_requests_match_the_openapi_document(
    changed_stack: DevStack, api: Api, owner: ApiSession, tmp_path: Path, role: str
) -> None:
    """Responses match the document, and only admins see another account's canvas.

    Proves R-CONTRACT-6 and R-ACCESS-11.
    """
    environment = {**os.environ, "SVGX_URL": changed_stack.url}
    admin = api.session(changed_stack.admin_username, changed_stack.admin_password)
    if role == "admin":
        # The stack's admin is the only admin, so the fuzzed requests cannot delete or demote it (R-AUTH-16).
        environment |= {
            "SVGX_USERNAME": changed_stack.admin_username,
            "SVGX_PASSWORD": changed_stack.admin_password,
        }
        environment["SVGX_USER_ID"] = str((await admin.me())["id"])
    elif role != "anonymous":
        user = await admin.create_user(f"fuzz-{role}", role)
        environment |= {"SVGX_USERNAME": user.username, "SVGX_PASSWORD": user.password}
        environment["SVGX_USER_ID"] = user.id
    phases = "examples,fuzzing,stateful" if role == "editor" else "fuzzing,stateful"
    requests = tmp_path / "requests.ndjson"
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file=schemathesis.toml",
        "run",
        f"{changed_stack.url}/openapi.json",
        "--checks=all",
        f"--phases={PHASES or phases}",
        f"--max-examples={EXAMPLES}",
        "--continue-on-failure",
        "--seed=1",
        "--report=ndjson",
        f"--report-ndjson-path={requests}",
        cwd=FOLDER,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    report = output.decode(errors="replace")
    assert process.returncode == 0, report
    written = requests.read_text(errors="replace")
    assert "/runtime/canvases/" in written
    if role != "admin":
        assert SECRET_NAME not in written
        assert [canvas.name for canvas in await owner.canvases()] == [SECRET_NAME]
    async with httpx.AsyncClient(base_url=changed_stack.url, timeout=60) as http:
        assert (await http.get("/health/")).status_code == 200
