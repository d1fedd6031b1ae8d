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

PROCESSOR_LIMIT = {"GOMAXPROCS": "1"}
"""The environment variable that limits NATS to one processor, as in the charts.

With two processors, NATS uses up to 1.4 times the processor time for an edit, because its threads wake each other.
"""

MAX_PAYLOAD_BYTES = 1024 * 1024
"""Maximum size of a message in bytes. This is the default of NATS."""


def program(home: Home) -> Program:
    """Write the server's configuration file and return its program. The server listens on its stored loopback ports."""
    port = home.port("nats")
    config = home.write_private("nats.conf", _config(home, port))
    return Program(
        name="nats",
        argv=(str(binaries.nats_server()), "-c", str(config)),
        env={**os.environ, **PROCESSOR_LIMIT},
        log_path=home.logs / "nats.log",
        pid_path=home.pids / "nats",
        ready=lambda: probe.nats(port),
        stop_timeout=10.0,
    )


def url(home: Home, user: str) -> str:
    """Return the server's address with the user's name and password."""
    if user not in USERS:
        raise KeyError(f"no NATS user {user!r}: use one of {', '.join(USERS)}")
    return f"nats://{user}:{home.secret(f'nats.{user}')}@{HOST}:{home.port_in_use('nats')}"


def _config(home: Home, port: int) -> str:
    """Return the configuration. The services' users are those of the charts, with passwords. `OPERATOR` is added."""

    def credentials(user: str) -> str:
        return f'user: {user}, password: "{home.secret(f"nats.{user}")}"'

    users = users_configuration(credentials, more_users=[f"{{{credentials(OPERATOR)}}}"])
    return f"""server_name: svgx-devstack
listen: "{HOST}:{port}"
http: "{HOST}:{home.port("nats.monitor")}"
max_payload: {MAX_PAYLOAD_BYTES}
ping_interval: "{PING_SECONDS}s"
ping_max: {PING_MAX}
{users}"""
