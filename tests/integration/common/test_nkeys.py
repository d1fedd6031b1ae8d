"""Services connect by key to a NATS server that has the charts' configuration and the services' public keys."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from svgx_common.contract.operation import SERVICES
from svgx_common.doctor import nats
from svgx_common.doctor.findings import Status
from svgx_common.doctor.nats import check_nats
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.connection import sign_in_with
from svgx_common.nats_server.nkeys import UserKey
from svgx_common.nats_server.users import (
    credentials_as_variables,
    second_users,
    users_configuration,
)
from tests.integration.common.nats_server import nats_server


@pytest.fixture(scope="module")
def keys() -> dict[str, UserKey]:
    """Return a new key for each service."""
    return {service: UserKey.generate() for service in SERVICES}


@pytest.fixture(scope="module")
async def url(
    keys: dict[str, UserKey], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Start a NATS server, and return its address."""
    variables = {f"{service.upper()}_NKEY": key.public for service, key in keys.items()}
    folder = tmp_path_factory.mktemp("nkeys")
    async with nats_server(folder, users_configuration(credentials_as_variables), variables) as url:
        yield url


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
    try:
        with pytest.raises(NatsError):
            await client.connect(
                url,
                signature_cb=sign_in_with(client, key),
                allow_reconnect=False,
                error_cb=_ignore,
            )
    finally:
        await client.close()


async def _ignore(_: Exception) -> None:
    """Take the errors that nats-py would log."""


async def test_both_keys_of_a_service_have_equal_rights_while_they_are_replaced(
    keys: dict[str, UserKey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that knows two keys of each service grants both keys all rights of the service. Proves R-BUS-15.

    So an operator can restart NATS with both keys, then the services with the second key, then NATS without the first.
    """
    second = {service: UserKey.generate() for service in SERVICES}
    variables = {f"{service.upper()}_NKEY": key.public for service, key in keys.items()}
    variables |= {f"{service.upper()}_SECOND_NKEY": key.public for service, key in second.items()}
    configuration = users_configuration(credentials_as_variables, second_users())
    async with nats_server(tmp_path, configuration, variables) as url:
        with monkeypatch.context() as patched:
            patched.setattr(nats, "ANSWER_SECONDS", 6.0)  # each request is answered
            for service in SERVICES:
                for key in (keys[service], second[service]):
                    findings = await check_nats(service, url, key.seed)
                    assert not [each for each in findings if each.status is Status.FAILED]
        # A key has the rights of its own service only.
        (wrong, *_) = [
            each
            for each in await check_nats("auth", url, second["collab"].seed)
            if each.status is Status.FAILED
        ]
        assert wrong.check.startswith("nats ")
