"""The services at a NATS server with the users of the charts, which knows their public keys only."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from svgx_common.contract.operation import SERVICES
from svgx_common.messaging.bus import Bus
from svgx_common.nats_server.nkeys import UserKey
from svgx_common.nats_server.users import users_configuration, variable_credentials
from svgx_devstack.backing import binaries, probe
from svgx_devstack.ports import HOST, choose
from tests.polling import pause


@pytest.fixture(scope="module")
def keys() -> dict[str, UserKey]:
    """Return a new key for each service."""
    return {service: UserKey.generate() for service in SERVICES}


@pytest.fixture(scope="module")
async def url(
    keys: dict[str, UserKey], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Start a NATS server, and return its address."""
    port = choose()
    path = tmp_path_factory.mktemp("nkeys") / "nats.conf"
    configuration = f"listen: {HOST}:{port}\n{users_configuration(variable_credentials)}"
    await asyncio.to_thread(path.write_text, configuration, encoding="utf-8")
    variables = {f"{service.upper()}_NKEY": key.public for service, key in keys.items()}
    process = await asyncio.create_subprocess_exec(
        *(str(binaries.nats_server()), "-c", str(path)),
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while not await probe.nats(port):
                await pause()
        yield f"nats://{HOST}:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("service", SERVICES)
async def test_service_connects_with_its_seed(
    url: str, keys: dict[str, UserKey], service: str
) -> None:
    """The connection may send and receive on the service's own subjects. Proves R-BUS-14."""
    bus = await Bus.connect(url, service, "replica", seed=keys[service].seed)
    try:
        await bus.check()
    finally:
        await bus.close()


@pytest.mark.parametrize("seed", ["", UserKey.generate().seed], ids=["no key", "unknown key"])
async def test_unknown_key_is_refused(url: str, seed: str) -> None:
    """A client without a key of a service cannot connect. Proves R-BUS-14."""
    client = Client()
    key = UserKey.from_seed(seed) if seed else None
    if key is not None:
        client._public_nkey = key.public
    try:
        with pytest.raises(NatsError):
            await client.connect(
                url,
                signature_cb=None if key is None else key.sign,
                allow_reconnect=False,
                error_cb=_ignore,
            )
    finally:
        await client.close()


async def _ignore(_: Exception) -> None:
    """Take the errors that nats-py would log."""
