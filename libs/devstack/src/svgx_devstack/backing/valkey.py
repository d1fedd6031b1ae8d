"""Run the Valkey server with its data in memory only. At its memory limit, Valkey evicts keys with a time to live."""

import os

from svgx_devstack.backing import binaries, probe
from svgx_devstack.home import Home
from svgx_devstack.ports import HOST
from svgx_devstack.program import Program


def program(home: Home) -> Program:
    """Write the server's configuration file, and return its program. The server listens on its stored loopback port."""
    port = home.port("valkey")
    password = home.secret("valkey")
    lines = (
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {password}",
        "daemonize no",
        "appendonly no",
        'save ""',
        "maxmemory 256mb",
        "maxmemory-policy volatile-lru",
    )
    config = home.write_private("valkey.conf", "\n".join(lines) + "\n")
    return Program(
        name="valkey",
        # From a path, Valkey would expand `*`, `?` and `[`, and start with its defaults if no file matches.
        argv=(str(binaries.valkey_server()), "-"),
        input_path=config,
        env=dict(os.environ),
        log_path=home.logs / "valkey.log",
        pid_path=home.pids / "valkey",
        ready=lambda: probe.valkey(port, password),
        stop_timeout=10.0,
    )


def url(home: Home) -> str:
    """Return the server's address with the password."""
    return f"redis://:{home.secret('valkey')}@{HOST}:{home.port_in_use('valkey')}/0"
