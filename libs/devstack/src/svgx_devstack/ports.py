"""Choose free loopback ports that no other stack on this machine chooses at the same time."""

import fcntl
import functools
import os
import secrets
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path

from svgx_devstack.errors import StackError

HOST = "127.0.0.1"
"""The address of all servers and services of the stack."""

_FIRST_PORT, _LAST_PORT = 20_000, 32_000
"""The range of ports: below the ports that Linux and macOS use for outgoing connections."""

_ATTEMPTS = 200

_chosen_ports: set[int] = set()
"""The ports that this process has chosen."""


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # With this option, an earlier run's connections in TIME_WAIT do not block the port. The servers set it too.
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


def choose(excluded: Collection[int] = ()) -> int:
    """Return a free port that is not in `excluded` and that this process has not chosen before, and claim it."""
    for _ in range(_ATTEMPTS):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port not in excluded and port not in _chosen_ports and claim(port):
            _chosen_ports.add(port)
            return port
    raise StackError(
        f"no free port between {_FIRST_PORT} and {_LAST_PORT} on {HOST}: stop some of the servers that use these ports"
    )


def claim(port: int) -> bool:
    """Claim a port, so that no other process of this user chooses it until this process ends.

    The claim is needed because a server starts to listen seconds after its port was chosen. In the meantime, another
    stack would find the port free. Returns False when the port is not free or another process has claimed it.
    """
    try:
        fcntl.lockf(_claims_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    return is_free(port)


@functools.cache
def _claims_file() -> int:
    """Return the descriptor of an empty file. A process that claims a port locks the byte at the port's number."""
    path = Path(tempfile.gettempdir()) / f"svgx-ports-{os.getuid()}"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StackError(
            f"cannot open {path} ({error.strerror}): set TMPDIR to a folder you can write to"
        ) from error
