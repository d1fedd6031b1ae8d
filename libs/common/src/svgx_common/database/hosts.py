"""Connections to the hosts of a PostgreSQL URL, which names one host or several separated by commas."""

import socket
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_SECONDS = 5.0
"""Time limit for connecting if the URL names only one host, in seconds."""

HOST_CONNECT_SECONDS = 2.0
"""Time limit for connecting to one of several hosts, in seconds. After this time, the next host is tried."""

_DEFAULT_PORT = 5432

IDLE_TIMEOUT = "idle_in_transaction_session_timeout"
"""The setting of PostgreSQL that ends a transaction in which no statement arrives for a time."""

SERVER_SETTINGS = {
    # In a zone with summer time, an interval of a day has 23 or 25 hours on two days of the year.
    "timezone": "UTC",
    # A service's replica that freezes within a transaction keeps its locks no longer than this.
    IDLE_TIMEOUT: "10s",
    # The server ends long statements, because a replica that stops waiting cannot always cancel its statement.
    "statement_timeout": "30s",
    # The compilation of a statement takes longer than it saves: up to seconds for a statement on many partitions.
    "jit": "off",
    # The server notices within 20 s that the machine of a replica is gone.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}
"""Server settings for each connection of a pool or monitor."""


class Hosts:
    """The hosts of one URL. Each connection first tries the host to which the last connection was made."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        self._hosts = [_host_and_port(each) for each in hosts] if len(hosts) > 1 else []
        """The hosts and ports to try. Empty if the URL names only one host."""
        self._options: dict[str, Any] = {}
        if self._hosts and "target_session_attrs" not in parse_qs(parts.query):
            # The services write. Without this option, the first host that answers would be used, even a standby.
            self._options["target_session_attrs"] = "read-write"
        self._last_index = 0

    async def connect(self, *_: object, **options: Any) -> Connection:
        """Connect to the first host that answers and fits `target_session_attrs`.

        If no host does, raise the error of the host that was tried last.
        """
        options = {**self._options, **options}
        if not self._hosts:
            return _keep_alive(
                await asyncpg.connect(self._url, **{"timeout": CONNECT_SECONDS, **options})
            )
        options["timeout"] = HOST_CONNECT_SECONDS
        failure: Exception = ConnectionError()
        for offset in range(len(self._hosts)):
            index = (self._last_index + offset) % len(self._hosts)
            host, port = self._hosts[index]
            try:
                connection = await asyncpg.connect(self._url, host=host, port=port, **options)
            except (
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
                EOFError,
                TimeoutError,
            ) as error:
                failure = error
            else:
                self._last_index = index
                return _keep_alive(connection)
        raise failure


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, ""
    return host.strip("[]"), int(port or _DEFAULT_PORT)


def _keep_alive(connection: Connection) -> Connection:
    """Make the kernel notice within 20 s that the server's machine is gone."""
    sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return connection
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all options.
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
