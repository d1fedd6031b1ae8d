"""Run the NATS server with one user per service. The contract determines the subjects that each user may use."""

import json
import os

from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.permissions import MAX_RESPONSES, RESPONSE_SECONDS, permissions
from svgx_devstack.backing import binaries, probe
from svgx_devstack.home import Home
from svgx_devstack.ports import HOST
from svgx_devstack.program import Program

OPERATOR = "operator"
"""The user with all permissions, for tests and tools."""

USERS = (*SERVICES, OPERATOR)

MAX_PAYLOAD = 1024 * 1024
"""Bytes of the largest message, the default of NATS."""

PING_SECONDS = 3
"""Seconds between two pings of the server. A client that leaves `PING_MAX` of them unanswered is disconnected.

With NATS' defaults (120 s, 2), a frozen replica would get its share of the requests for up to six minutes.
"""

PING_MAX = 2


def program(home: Home) -> Program:
    """Return the server on its stored loopback ports, and write its configuration file."""
    port = home.port("nats")
    config = home.write_private("nats.conf", json.dumps(_config(home, port), indent=2) + "\n")
    return Program(
        name="nats",
        argv=(str(binaries.nats_server()), "-c", str(config)),
        env=dict(os.environ),
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


def _config(home: Home, port: int) -> dict[str, object]:
    # NATS reads JSON as well as its own format.
    return {
        "server_name": "svgx-devstack",
        "listen": f"{HOST}:{port}",
        "http": f"{HOST}:{home.port('nats.monitor')}",
        "max_payload": MAX_PAYLOAD,
        "ping_interval": f"{PING_SECONDS}s",
        "ping_max": PING_MAX,
        "authorization": {
            "users": [
                {"user": OPERATOR, "password": home.secret(f"nats.{OPERATOR}")},
                *(_service_user(home, service) for service in SERVICES),
            ]
        },
    }


def _service_user(home: Home, service: ServiceName) -> dict[str, object]:
    allowed = permissions(service)
    return {
        "user": service,
        "password": home.secret(f"nats.{service}"),
        "permissions": {
            "publish": list(allowed.publish),
            "subscribe": list(allowed.subscribe),
            "allow_responses": {"max": MAX_RESPONSES, "expires": f"{RESPONSE_SECONDS}s"},
        },
    }
