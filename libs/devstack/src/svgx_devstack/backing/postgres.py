"""Run the PostgreSQL server: data folder, start, role and database. All durability settings stay on."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil

from svgx_devstack import orphans, process
from svgx_devstack.backing import binaries
from svgx_devstack.errors import StackError
from svgx_devstack.home import Home
from svgx_devstack.ports import HOST
from svgx_devstack.program import Program

DATABASE = "svgx"
USER = "svgx_user"
_SUPERUSER = "postgres"
_CONNECT_SECONDS = 5.0
"""Time limit to open or to close a connection, in seconds."""


def remove_variables() -> None:
    """Remove PostgreSQL's variables, such as PGDATA and PGSSLMODE, from the environment of this process.

    They would lead `initdb` and the server to another installation. With them, asyncpg would ask for connections that
    the server refuses, here and in the services.
    """
    for name in tuple(os.environ):
        if name.startswith("PG"):
            del os.environ[name]


def program(home: Home) -> Program:
    """Create the data folder if it is missing, and return the server's program.

    The server listens on its stored loopback port, over TCP only.
    """
    data = _data_folder(home)
    port = home.port("postgres")
    if is_new(home):
        _create_data(home, data)
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        # No Unix socket, because its path is limited to about 100 bytes and the home folder may be longer.
        "unix_socket_directories": "",
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    return Program(
        name="postgres",
        argv=(
            str(binaries.postgres("postgres")),
            *("-D", str(data)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ),
        env=dict(os.environ),
        log_path=home.logs / "postgres.log",
        pid_path=home.pids / "postgres",
        ready=lambda: _is_ready(home),
        before_start=lambda: _remove_stale_lock(data),
        # Fast shutdown: the server closes the connections and writes a checkpoint.
        stop_signal=signal.SIGINT,
        # Immediate shutdown: the server ends its children, and recovers at the next start.
        death_signal=signal.SIGQUIT,
        not_as_root=True,
    )


def is_new(home: Home) -> bool:
    """Return whether the data folder is missing."""
    return not (_data_folder(home) / "PG_VERSION").exists()


def url(home: Home) -> str:
    """Return the address of the services' database, with the services' user and password."""
    return _url(home, USER, DATABASE)


def superuser_url(home: Home, database: str = _SUPERUSER) -> str:
    """Return the address of a database, with the superuser's name and password."""
    return _url(home, _SUPERUSER, database)


async def prepare(home: Home) -> None:
    """Create the services' role and database unless they exist. Raises `StackError` if PostgreSQL refuses."""
    connection = await asyncpg.connect(superuser_url(home), timeout=_CONNECT_SECONDS)
    try:
        # CREATE statements take no parameters. The password is hexadecimal, so it needs no escaping.
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", USER):
            await connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{_password(home, USER)}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")
    except asyncpg.PostgresError as error:
        reason = str(error).partition("\n")[0]  # details and hints follow
        raise StackError(f"cannot create the database {DATABASE}: {reason}") from error
    finally:
        await connection.close()


def _data_folder(home: Home) -> Path:
    return home.path / "postgres"


def _url(home: Home, user: str, database: str) -> str:
    return f"postgresql://{user}:{_password(home, user)}@{HOST}:{home.port_in_use('postgres')}/{database}"


def _password(home: Home, user: str) -> str:
    return home.secret(f"postgres.{user}")


async def _is_ready(home: Home) -> bool:
    try:
        connection = await asyncpg.connect(superuser_url(home), timeout=_CONNECT_SECONDS, ssl=False)
        await connection.close(timeout=_CONNECT_SECONDS)
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncio.IncompleteReadError,
    ):
        return False
    return True


def _create_data(home: Home, data: Path) -> None:
    """Create the data folder with `initdb`. Raises `StackError` if `initdb` fails."""
    # The folder gets its final name only after `initdb` has succeeded.
    draft = data.with_name(data.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    demote = os.geteuid() == 0
    if demote:
        nobody = pwd.getpwnam("nobody")
        os.chown(draft, nobody.pw_uid, nobody.pw_gid)
    password_file = home.write_private("initdb.password", _password(home, _SUPERUSER) + "\n")
    try:
        result = subprocess.run(
            [
                # `launch.py` takes the parent's id, the death signal, the demotion, and then the program.
                *(sys.executable, "-I", "-S", process.LAUNCH),
                *(str(os.getpid()), str(int(signal.SIGKILL)), "1" if demote else "0"),
                *(str(binaries.postgres("initdb")), "-D", str(draft), "-U", _SUPERUSER),
                *("--auth=scram-sha-256", f"--pwfile={password_file}"),
                *(
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--locale=C.UTF-8",
                    "--no-instructions",
                ),
            ],
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
    finally:
        password_file.unlink()
    (home.logs / "initdb.log").write_text(result.stdout + result.stderr, encoding="utf-8")
    if result.returncode != 0:
        reason = _first_error(result.stderr or result.stdout)
        raise StackError(f"cannot create the database folder {data}: {reason}")
    draft.rename(data)


def _first_error(output: str) -> str:
    """Return the text of the first error in the output of `initdb`, or the last line if no line states an error.

    `initdb` runs the server. Lines about the consequences of its error follow.
    """
    if error := re.search(r"(?:ERROR|FATAL|PANIC|error): +(.+)", output):
        return error[1]
    lines = output.strip().splitlines()
    return lines[-1] if lines else "no reason given"


def _remove_stale_lock(data: Path) -> None:
    """Remove the lock file of a killed server, and kill its remaining processes.

    PostgreSQL refuses to start while any process of the same user has the id in the lock file.
    """
    lock = data / "postmaster.pid"
    try:
        old_server = psutil.Process(int(lock.read_text(encoding="utf-8").split("\n", 1)[0]))
        if old_server.cwd() == str(data):
            orphans.kill(orphans.tree(old_server))
    except (FileNotFoundError, ValueError, psutil.Error):
        pass
    lock.unlink(missing_ok=True)
