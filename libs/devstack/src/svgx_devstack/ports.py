"""Choose free loopback ports."""

import secrets
import socket
from collections.abc import Collection

from svgx_devstack.errors import StackError

HOST = "127.0.0.1"
"""The address of all servers and services of the stack."""

_FIRST, _LAST = 20_000, 32_000
"""The range of ports: below the ports that Linux and macOS use for outgoing connections."""

_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # With this option, connections of an earlier run in TIME_WAIT do not occupy the port. The servers set it too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise StackError(
                f"no permission to listen on port {port}: set API_PORT to a port above 1023"
            ) from error
        except OSError:
            return False
    return True


def choose(taken: Collection[int] = ()) -> int:
    """Return a free port that is not in `taken`."""
    for _ in range(_ATTEMPTS):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in taken and is_free(port):
            return port
    raise StackError(
        f"no free port between {_FIRST} and {_LAST} on {HOST}: stop some of the servers that use these ports"
    )
