"""NATS servers with a user for each service: the development stack's server, and servers with a chart's files.

The charts are the umbrella chart and the official chart of NATS.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from deploy.build.charts import RENDERED
from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.transport import inbox_prefix
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.connection import sign_in_with
from svgx_common.nats_server.nkeys import UserKey
from svgx_devstack import DevStack
from svgx_devstack.ports import HOST, choose
from tests.deploy.objects import parse_objects
from tests.integration.common import nats_server

_OPERATOR = '{user: operator, password: "of-this-test"}'
"""A user with all permissions, with which tests observe messages. The files of the charts do not have this user."""


@dataclass(frozen=True, slots=True)
class NatsUsers:
    """A server, and the credentials of its users. `keys` has the keys of the services that have no password."""

    urls: Mapping[str, str]
    keys: Mapping[str, UserKey] = field(default_factory=dict)

    async def operator(self) -> Client:
        """Connect as the user with all permissions."""
        return await nats.connect(self.urls["operator"])

    async def connect(self, service: ServiceName) -> Client:
        """Connect as a service. Permission violations are expected and ignored."""

        async def ignore(_: Exception) -> None:
            """Ignore a permission violation: the test looks at the messages that arrive."""

        client = Client()
        await client.connect(
            self.urls[service],
            signature_cb=sign_in_with(client, self.keys.get(service)),
            error_cb=ignore,
            inbox_prefix=inbox_prefix(service).encode(),
        )
        return client

    async def bus(self, service: ServiceName, replica: str) -> Bus:
        """Connect the bus of a service."""
        seed = self.keys[service].seed if service in self.keys else ""
        return await Bus.connect(self.urls[service], service, replica, seed=seed)


def of_stack(stack: DevStack) -> NatsUsers:
    """Return the server of a development stack, where the services have passwords."""
    return NatsUsers({user: stack.nats_url(user) for user in (*SERVICES, "operator")})


def chart_files() -> dict[str, str]:
    """Return the configuration files that the umbrella chart renders."""
    objects = parse_objects((RENDERED / "dev.yaml").read_text(encoding="utf-8"))
    (files,) = (
        each["data"]
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "svgx-nats"
    )
    return dict(files)


def official_chart_files(values: dict[str, Any]) -> dict[str, str]:
    """Return a configuration file like the one that the official chart of NATS makes of these values."""
    merged = {
        "listen": "0.0.0.0:4222",
        "http": "0.0.0.0:8222",
        "server_name": "<< $POD_NAME >>",
        **values["config"]["merge"],
    }
    return {"nats.conf": re.sub(r'"<< (.+?) >>"', r"\1", json.dumps(merged, indent=2))}


@asynccontextmanager
async def start(folder: Path, files: Mapping[str, str]) -> AsyncIterator[NatsUsers]:
    """Start a server with these files. Only addresses and paths are changed, and an observing user is added."""
    port = choose()
    changes = {
        "0.0.0.0:4222": f"{HOST}:{port}",
        "0.0.0.0:8222": f"{HOST}:{choose([port])}",
        "/tmp/": f"{folder}/",
        "users: [": f"users: [{_OPERATOR}",
        '"users": [': f'"users": [{_OPERATOR}',
    }
    for name, shipped in files.items():
        text = shipped
        for old, new in changes.items():
            text = text.replace(old, new)
        await asyncio.to_thread((folder / name).write_text, text, encoding="utf-8")
    keys: dict[str, UserKey] = {service: UserKey.generate() for service in SERVICES}
    variables = {f"{service.upper()}_NKEY": key.public for service, key in keys.items()}
    variables["POD_NAME"] = "svgx-nats-0"
    async with nats_server.run(folder / "nats.conf", port, variables):
        urls: dict[str, str] = dict.fromkeys(SERVICES, f"nats://{HOST}:{port}")
        operator = f"nats://operator:of-this-test@{HOST}:{port}"
        yield NatsUsers({**urls, "operator": operator}, keys)
