"""The command `svgx` as a process, with the real services."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from svgx_devstack import DevStack
from tests.e2e.client.test_client import SVG
from tests.e2e.clients.workspace import Workspace

SVGX = Path(sys.executable).with_name("svgx")


class Ended(NamedTuple):
    """An ended command: its exit status, its output and its error output."""

    status: int
    output: bytes
    error: str

    @property
    def json(self) -> Any:
        """Return the output of a successful command as JSON."""
        assert (self.status, self.error) == (0, "")
        return json.loads(self.output)


class Command:
    """The command line with an environment."""

    def __init__(self, **environment: str) -> None:
        self._environment = environment

    async def run(self, *arguments: str, content: bytes = b"") -> Ended:
        """Run the command with this standard input."""
        process = await asyncio.create_subprocess_exec(
            SVGX,
            *arguments,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, error = await process.communicate(content)
        assert process.returncode is not None
        return Ended(process.returncode, output, error.decode())


@pytest.fixture
async def command(workspace: Workspace, stack: DevStack) -> Command:
    """Return the command line with the access token of the workspace's owner."""
    return Command(SVGX_URL=stack.url, SVGX_TOKEN=await workspace.owner.access_token())


async def test_canvas_is_created_edited_and_exported_to_a_file(
    command: Command, tmp_path: Path
) -> None:
    canvas = (await command.run("canvas", "create", "--name", "Plan")).json
    assert canvas["role"] == "owner"
    canvas_id = canvas["id"]
    imported = await command.run("import", canvas_id, "--input", "-", content=SVG)
    assert imported.json["elements"] == 1
    operations = [{"op": "create", "id": "box", "tag": "rect", "attrs": {"width": "2"}}]
    change = ("elements", "change", canvas_id)
    changed = await command.run(*change, "--operations", json.dumps(operations))
    assert changed.json["created"] == ["box"]
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"operations": [{"op": "delete", "id": "box"}]}))
    assert (await command.run(*change, "--json", str(body))).json["created"] == []
    assert (await command.run("elements", "undo", canvas_id)).json["changed"] == ["box"]
    exported = await command.run("export", canvas_id)
    assert b"<circle" in exported.output
    picture = tmp_path / "plan.png"
    written = await command.run("export", canvas_id, "--format", "png", "--output", str(picture))
    assert written == (0, b"", "")
    assert picture.read_bytes().startswith(b"\x89PNG")


async def test_list_prints_a_page_or_one_line_for_each_item(
    command: Command, workspace: Workspace
) -> None:
    for number in range(3):
        await workspace.create_canvas(f"listed {number}")
    choice = ("canvas", "list", "--name", "listed", "--limit", "2")
    page = (await command.run(*choice)).json
    assert len(page["items"]) == 2
    assert page["next"] is not None
    lines = (await command.run(*choice, "--all")).output.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["listed 2", "listed 1", "listed 0"]


async def test_refusal_is_one_sentence_with_status_1(command: Command, stack: DevStack) -> None:
    """Proves R-CONTRACT-9 with the real services."""
    refused = await command.run("canvas", "get", "unknown")
    assert refused == (1, b"", "svgx: there is no such canvas\n")
    wrong = await Command(SVGX_URL=stack.url, SVGX_TOKEN="hunter2").run("me")
    assert wrong.status == 1
    assert wrong.error.startswith("svgx: the access token is missing, expired or not valid")
    assert "hunter2" not in wrong.error


async def test_variables_of_the_development_stack_suffice(stack: DevStack) -> None:
    """The command uses the admin of `dev.env`. A password is read from standard input."""
    path = await asyncio.to_thread(stack.write_dev_env, stack.url)
    lines = path.read_text().splitlines()
    command = Command(**dict(line.split("=", 1) for line in lines))
    assert (await command.run("me")).json["username"] == stack.admin_username
    user = ("user", "create", "--username", "sdk", "--email", "sdk@example.org", "--role", "editor")
    without = await command.run(*user)
    assert (without.status, without.error[:15]) == (2, "svgx: password:")
    body = json.dumps({"password": "the password of sdk"}).encode()
    created = (await command.run(*user, "--json", "-", content=body)).json
    assert created["role"] == "editor"
    assert (await command.run("user", "delete", created["id"])) == (0, b"", "")


async def test_unreachable_server_is_one_sentence() -> None:
    ended = await Command(SVGX_URL="http://127.0.0.1:1", SVGX_TOKEN="t").run("me")
    assert ended.status == 1
    assert ended.error.startswith("svgx: cannot connect to http://127.0.0.1:1 (")
    assert ended.error.count("\n") == 1
