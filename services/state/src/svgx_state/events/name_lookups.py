"""Lookups of host names by the operating system, in threads that nothing else uses.

The default threads of asyncio are few, and other parts of the service need them. The operating system's lookup follows
the configuration of the machine, such as `/etc/hosts` and the search domains of a cluster. A DNS client without threads
would ignore parts of it.
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread

from svgx_common.contract.storage.webhooks import MAX_WEBHOOKS

MAX_LOOKUPS = 2 * MAX_WEBHOOKS
"""Largest number of unfinished lookups. Beyond it, the lookup of a further name fails at once.

Each webhook has two threads: one for its host, and one for an unfinished lookup of the host that its URL had before.
"""


class NameLookups:
    """The unfinished lookups of one replica: at most one for each name, which all its callers share.

    A thread cannot be cancelled. An abandoned lookup counts until its thread has ended. Otherwise, repeated lookups of
    a name without an answer would occupy one thread after the other.
    """

    def __init__(self, limit: int = MAX_LOOKUPS) -> None:
        self._limit = limit
        self._unfinished: dict[str, asyncio.Future[list[str]]] = {}

    async def resolve(self, host: str) -> Sequence[str]:
        """Return the IP addresses of a host name or an address. Raises `OSError`."""
        lookup = self._unfinished.get(host)
        if lookup is None:
            if len(self._unfinished) >= self._limit:
                raise OSError(f"{self._limit} lookups of names are not finished")
            lookup = asyncio.wrap_future(_start(host))
            self._unfinished[host] = lookup
            lookup.add_done_callback(lambda ended: self._remove(host, ended))
        return await asyncio.shield(lookup)

    def _remove(self, host: str, ended: asyncio.Future[list[str]]) -> None:
        del self._unfinished[host]
        if not ended.cancelled():
            # asyncio logs an exception that was never retrieved. Callers that have given up do not retrieve it.
            ended.exception()


def _start(host: str) -> Future[list[str]]:
    """Start a lookup in a thread of its own.

    The process ends without this thread. It would wait for the thread of an executor, and so for a slow name server.
    """
    lookup: Future[list[str]] = Future()
    lookup.set_running_or_notify_cancel()

    def look_up() -> None:
        try:
            lookup.set_result(_addresses_of(host))
        except Exception as error:  # noqa: BLE001  # the caller raises it
            lookup.set_exception(error)

    Thread(target=look_up, name="name-lookup", daemon=True).start()
    return lookup


def _addresses_of(host: str) -> list[str]:
    results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in results))
