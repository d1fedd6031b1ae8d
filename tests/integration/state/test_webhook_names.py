"""Webhooks with a host name that cannot be looked up, because its name server sends no response."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from svgx_common.contract.storage.webhooks import MAX_WEBHOOKS, DeliveryStatus
from svgx_devstack import DevStack
from tests.integration.state.service import Client, Tables
from tests.integration.state.webhook_client import create, deliveries, forget_events, quick_replica
from tests.polling import pause
from tests.receiver import receiver


class NameServers:
    """Name servers that answer each lookup of `*.example` with 127.0.0.1.

    The name servers of `*.silent.example` can be silenced. Until `release`, a lookup of a silent name then occupies its
    thread, as with a name server that sends no response.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Names of the lookups that a silent name server has received."""
        self._silent = threading.Event()
        self._released = threading.Event()
        self._look_up = socket.getaddrinfo

    def silence(self) -> None:
        self._silent.set()

    def release(self) -> None:
        """Let all lookups of silent names fail."""
        self._released.set()

    def getaddrinfo(self, host: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return self._look_up(host, *args, **options)
        if str(host).endswith(".silent.example") and self._silent.is_set():
            self.asked.append(host)
            self._released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._look_up("127.0.0.1", *args, **options)


@pytest.fixture
def name_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServers]:
    servers = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", servers.getaddrinfo)
    yield servers
    servers.release()


@pytest.mark.parametrize("silent", [1, MAX_WEBHOOKS - 1])
async def test_webhook_with_a_silent_name_server_delays_no_other(
    backing: DevStack, client: Client, tables: Tables, name_servers: NameServers, silent: int
) -> None:
    """Proves R-EVENT-8: deliveries to a webhook do not wait for the unanswered lookups of one or of all other webhooks.

    These lookups take no thread from the webhook. Each name has one lookup at a time, although the deliveries to that
    name are attempted again.
    """
    # The time limit is shorter than `RESOLVE_SECONDS`, so lookups outlast their attempts.
    short = quick_replica(backing, webhook_timeout_seconds=3.0)
    async with short, receiver() as hook:
        await forget_events(tables)
        port = hook.url.rpartition(":")[2]
        names = [f"hook-{number}.silent.example" for number in range(silent)]
        webhooks = [
            await create(client, f"http://{name}:{port}", "canvas.created") for name in names
        ]
        healthy = await create(client, f"http://healthy.example:{port}", "canvas.created")
        name_servers.silence()
        for _ in range(3):
            await client.create()
        async with asyncio.timeout(30):
            for webhook in webhooks:
                # Wait until an attempt has failed. Its lookup still occupies a thread.
                while all(each.error is None for each in await deliveries(client, webhook.id)):
                    await pause()
        for _ in range(3):
            await client.create()
        async with asyncio.timeout(30):
            while True:
                page = await deliveries(client, healthy.id)
                delivered = [each for each in page if each.status is DeliveryStatus.DELIVERED]
                if len(delivered) == 6:
                    break
                await pause()
        assert [each.attempts for each in page] == [1] * 6
        assert sorted(name_servers.asked) == sorted(names)
        await forget_events(tables)
        name_servers.release()
