"""A shell in which the guide's commands run with a stack of processes.

Scripts replace the programs that need a cluster or a package: `kubectl exec` runs the command with the environment of
the service's process, `kubectl logs` prints the whole log of that process, or with `--selector` the logs of all
services, and `redis-cli` sends its arguments to Valkey.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from svgx_devstack import DevStack
from svgx_devstack.backing import binaries
from tests.deploy.operations.guide import ROOT

GUIDE_DATABASE: Final = "guide"
"""The database that the guide's statements create and change. The stack uses another database."""

_SERVICES: Final = ("gateway", "auth", "collab", "state")
_TIMEOUT_SECONDS: Final = 240.0

_KUBECTL: Final = """
import json, os, sys
folder, arguments = os.path.dirname(sys.argv[0]), sys.argv[1:]
target = next((a for a in arguments if a.startswith("deployment/svgx-")), None)
services = [target.removeprefix("deployment/svgx-")] if target else ["gateway", "auth", "collab", "state"]
with open(os.path.join(folder, "services.json")) as file:
    known = json.load(file)
if arguments[0] == "exec":
    command = arguments[arguments.index("--") + 1:]
    os.execvpe(command[0], command, known[services[0]]["environment"] | {"PATH": os.environ["PATH"]})
assert arguments[0] == "logs", arguments
for service in services:
    with open(known[service]["log"]) as file:
        sys.stdout.write(file.read())
"""

_REDIS_CLI: Final = """
import os, sys
import redis
print(redis.Redis.from_url(os.environ["REDIS_URL"]).execute_command(*sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Result:
    """The exit status and all output of a script or of SQL statements."""

    status: int
    output: str


class Shell:
    """A shell with commands that reach one stack."""

    def __init__(self, folder: Path, stack: DevStack, variables: dict[str, str]) -> None:
        self._folder = folder
        self._stack = stack
        python = Path(sys.executable)
        self._write("kubectl", f"#!{python}\n{_KUBECTL}")
        self._write("redis-cli", f"#!{python}\n{_REDIS_CLI}")
        services = {name: _describe(stack, name) for name in _SERVICES}
        self._write("services.json", json.dumps(services))
        postgres = binaries.postgres("psql").parent
        path = f"{folder}:{python.parent}:{postgres}:{os.environ.get('PATH', os.defpath)}"
        self._environment = {
            "PATH": path,
            "HOME": str(folder),
            "POSTGRES_URL": stack.postgres_url,
            "REDIS_URL": stack.redis_url,
            "POSTGRES_ADMIN_URL": stack.postgres_superuser_url("postgres"),
            "GUIDE_DATABASE_URL": stack.postgres_superuser_url(GUIDE_DATABASE),
            "SVGX_ADMIN_USERNAME": stack.admin_username,
            "SVGX_ADMIN_PASSWORD": stack.admin_password,
            **variables,
        }

    async def run(self, text: str) -> Result:
        """Run the text as a script in the shell's folder. The script stops at the first command that fails."""
        script = text.replace("http://localhost:8000", self._stack.url)
        # A restore fails while services use the database, so the script restores the guide's database instead.
        restore = "deploy/scripts/restore_database.sh"
        script = script.replace(restore, f'env POSTGRES_URL="$GUIDE_DATABASE_URL" {restore}')
        script = script.replace("deploy/scripts/", f"{ROOT}/deploy/scripts/")
        script = script.replace('--dbname="$POSTGRES_URL"', '--dbname="$GUIDE_DATABASE_URL"')
        return await self._run("bash", "-euc", script)

    async def run_sql(self, text: str, database: str) -> Result:
        """Run the statements in one session of psql, as the superuser of the server."""
        url = self._stack.postgres_superuser_url(database)
        return await self._run("psql", "--set=ON_ERROR_STOP=1", "--dbname", url, stdin=text)

    async def _run(self, *command: str, stdin: str = "") -> Result:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            output, _ = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Result(process.returncode, output.decode(errors="replace"))

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)


def _describe(stack: DevStack, name: str) -> dict[str, object]:
    """Return the environment variables and the log's path of a service's process."""
    environment = psutil.Process(stack.process(name).pid).environ()
    return {"environment": environment, "log": str(stack.log_path(name))}
