"""Run the NATS server with one user per service. The contract determines the subjects that each service may use."""

import os

from svgx_common.contract.operation import SERVICES
from svgx_common.nats_server.pings import PING_MAX, PING_SECONDS
from svgx_common.nats_server.users import users_configuration
from svgx_devstack.backing import binaries, probe
from svgx_devstack.home import Home
from svgx_devstack.ports import HOST
from svgx_devstack.program import Program

OPERATOR = "operator"
"""The user with all permissions, for tests and tools."""

USERS = (*SERVICES, OPERATOR)

PROCESSORS = {"GOMAXPROCS": "1"}
"""The number of processors that NATS uses at once, as in the charts.

With two, an edit takes NATS up to 1.4 times the processor time, because its threads wake each other.
"""

MAX_PAYLOAD = 1024 * 1024
"""Bytes of the largest message, the default of NATS."""


def program(home: Home) -> Program:
    """Return the server on its stored loopback ports, and write its configuration file."""
    port = home.port("nats")
    config = home.write_private("nats.conf", _config(home, port))
    return Program(
        name="nats",
        argv=(str(binaries.nats_server()), "-c", str(config)),
        env={**os.environ, **PROCESSORS},
        log_path=home.logs / "nats.log",
        pid_path=home.pids / "nats",
        ready=lambda: probe.nats(port),
        stop_timeout=10.0,
    )


def url(home: Home, user: str) -> str:
    """Return the address with the user's password."""
    if user not in USERS:
        raise KeyError(f"no NATS user {user!r}: one of {', '.join(USERS)}")
    return f"nats://{user}:{home.secret(f'nats.{user}')}@{HOST}:{home.port_in_use('nats')}"


def _config(home: Home, port: int) -> str:
    """Return the configuration: the services' users as in the charts, but with passwords, and the user `OPERATOR`."""

    def credentials(user: str) -> str:
        return f'user: {user}, password: "{home.secret(f"nats.{user}")}"'

    users = users_configuration(credentials, more_users=[f"{{{credentials(OPERATOR)}}}"])
    return f"""server_name: svgx-devstack
listen: "{HOST}:{port}"
http: "{HOST}:{home.port("nats.monitor")}"
max_payload: {MAX_PAYLOAD}
ping_interval: "{PING_SECONDS}s"
ping_max: {PING_MAX}
{users}"""
