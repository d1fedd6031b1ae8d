"""Loopback ports: chosen once, remembered, chosen again when somebody else took them."""

import secrets
import socket
from collections.abc import Collection

from svgx_devstack.errors import StackError

HOST = "127.0.0.1"
# Below the range from which Linux and macOS take the ports of outgoing connections.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of an earlier run in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise StackError(
                f"no permission to listen on port {port}: set API_PORT to one above 1023"
            ) from error
        except OSError:
            return False
    return True


def choose(taken: Collection[int] = ()) -> int:
    """A free port that is not in `taken`."""
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in taken and is_free(port):
            return port
    raise StackError(
        f"no free port between {_FIRST} and {_LAST} on {HOST}: end some of the servers that use them"
    )
