"""Deliveries over TLS: a delivery connects to the checked address, and the certificate must name the URL's host."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from svgx_state.events.sender import Outcome, Sender
from svgx_state.events.signatures import new_secret
from tests.certificates import write_certificate
from tests.log_reader import read_logs
from tests.receiver import Receiver

LOOPBACK = (ipaddress.ip_network("127.0.0.1"),)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Receiver, ssl.SSLContext, int]]:
    """A receiver with a certificate for 127.0.0.1, a TLS context that trusts the certificate, and the port."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate, 30, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    hook = Receiver()
    hook.may_answer.set()
    listening = await asyncio.start_server(hook.serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        trusting = ssl.create_default_context(cafile=str(certificate))
        yield hook, trusting, listening.sockets[0].getsockname()[1]


async def send(url: str, tls: ssl.SSLContext | None, addresses: Sequence[str]) -> Outcome:
    """Send one delivery, with these addresses as the answer of DNS."""

    async def resolve(_: str) -> Sequence[str]:
        return addresses

    sender = Sender(LOOPBACK, require_https=True, timeout_seconds=5, resolve=resolve, tls=tls)
    try:
        return await sender.send(url, [new_secret()], "id", b"{}")
    finally:
        await sender.close()


async def test_delivery_checks_the_certificate_of_the_name_and_not_of_the_address(
    server: tuple[Receiver, ssl.SSLContext, int],
) -> None:
    """Proves R-EVENT-9: a valid certificate of the address does not replace the certificate of the URL's name."""
    hook, tls, port = server
    done = await send(f"https://127.0.0.1:{port}/hook?a=b", tls, ["127.0.0.1"])
    assert done == Outcome(204, None)
    assert hook.received[0].path == "/hook?a=b"
    assert hook.received[0].headers["host"] == f"127.0.0.1:{port}"
    # The certificate is that of the address to which the delivery connects, and not that of the name.
    named = await send(f"https://hooks.example.org:{port}/", tls, ["127.0.0.1"])
    assert named.error is not None
    assert "certificate" in named.error
    unknown = await send(f"https://127.0.0.1:{port}/", None, ["127.0.0.1"])
    assert not unknown.succeeded
    assert len(hook.received) == 1


async def test_delivery_connects_to_no_address_that_was_not_checked(
    server: tuple[Receiver, ssl.SSLContext, int],
) -> None:
    """Proves R-EVENT-9: each delivery resolves the URL's name, and fails if one of the addresses is private."""
    hook, tls, port = server
    for addresses in (["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::1"]):
        refused = await send(f"https://127.0.0.1:{port}/", tls, addresses)
        assert refused.error is not None
        assert "private or reserved network" in refused.error
    assert hook.most_open == 0


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_delivery_writes_no_part_of_its_request_into_the_log(
    server: tuple[Receiver, ssl.SSLContext, int], level: str
) -> None:
    """Proves R-OBS-5: at no level does the log have the URL, which may hold a secret, or a header of a delivery."""
    hook, tls, port = server
    url = f"https://127.0.0.1:{port}/services/T0/hidden-path?key=hidden-query"
    with read_logs("state", level) as log:
        sent = await send(url, tls, ["127.0.0.1"])
        lines = [line for line in log.read() if line["logger"] != "asyncio"]
    assert sent.succeeded
    assert hook.received[0].path.endswith("hidden-query")
    assert lines == []
