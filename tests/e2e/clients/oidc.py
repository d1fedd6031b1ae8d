"""An OpenID Connect provider (npm `oidc-provider`), a stack that uses it, and an HTTP client that acts as a browser."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from svgx_devstack import DevStack
from svgx_devstack.ports import choose
from tests import leaks
from tests.limits import HIGH_LIMITS

PROVIDER_SCRIPT = Path(__file__).parents[1] / "oidc" / "provider.mjs"
LOGIN_PATH = "/auth/oidc/corporate/login"
ROLES = {"admins": "admin", "editors": "editor", "readers": "viewer"}
"""Account roles by the group that the provider reports. Other groups give no role."""


class Provider:
    """The process of an OpenID Connect provider."""

    def __init__(self, node: Path, callback: str) -> None:
        self._port = choose()
        self._arguments = (str(node), str(PROVIDER_SCRIPT), str(self._port), callback)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def issuer(self) -> str:
        """The address that identifies the provider."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        while (line := await self._process.stdout.readline()) != b"ready\n":
            assert line, "the provider ended before it was ready"

    async def kill(self) -> None:
        """Kill the process if it runs."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()


@dataclass(frozen=True, slots=True)
class OidcStack:
    """A running provider, and a stack that lets users sign in with the provider."""

    provider: Provider
    stack: DevStack

    @property
    def issuer(self) -> str:
        """The address that identifies the provider."""
        return self.provider.issuer

    async def set_claims(self, name: str, **claims: Any) -> None:
        """Set the claims that the provider reports about the user `name`."""
        async with httpx.AsyncClient(timeout=60) as http:
            (await http.put(f"{self.issuer}/people/{name}", json=claims)).raise_for_status()


@contextlib.asynccontextmanager
async def start_oidc_stack(home: Path, node: Path) -> AsyncIterator[OidcStack]:
    """Run a provider and a stack until the end of the block."""
    api_port = choose()
    url = f"http://127.0.0.1:{api_port}"
    provider = Provider(node, f"{url}/auth/oidc/corporate/callback")
    settings = {
        "name": "corporate",
        "issuer": provider.issuer,
        "client_id": "svgx",
        "client_secret": "not a secret: a test",
        "role_claim": "groups",
        "roles": ROLES,
        "default_role": None,
    }
    try:
        await provider.start()
        environment = {**HIGH_LIMITS, "PUBLIC_URL": url, "OIDC_PROVIDERS": json.dumps([settings])}
        async with DevStack(home, api_port=api_port, settings=environment) as stack:
            yield OidcStack(provider, stack)
            # Proves R-OBS-5: the logs and metrics contain neither codes nor states.
            assert await asyncio.to_thread(leaks.find_leaks, stack) == []
    finally:
        await provider.kill()


class Browser:
    """An HTTP client that follows redirects, keeps cookies and fills in the provider's forms."""

    def __init__(self, oidc: OidcStack) -> None:
        self.http = httpx.AsyncClient(base_url=oidc.stack.url, timeout=30)
        self._oidc = oidc

    async def authorize(self, name: str) -> str:
        """Sign in at the provider as `name`, and return the callback URL to which the provider redirects."""
        response = await self.http.get(LOGIN_PATH)
        assert response.status_code == 303, response.text
        while True:
            while "location" in response.headers:
                address = str(response.url.join(response.headers["location"]))
                if address.startswith(f"{self._oidc.stack.url}/"):
                    query = parse_qs(urlsplit(address).query)
                    leaks.OPAQUE_SECRETS.update(query.get("code", []) + query["state"])
                    return address
                response = await self.http.get(address)
            assert response.status_code == 200, response.text
            form = dict(
                re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', response.text)
            )
            action = re.search(r'<form[^>]* action="([^"]+)"', response.text)
            assert action is not None, response.text
            if form["prompt"] == "login":
                form |= {"login": name, "password": "any"}
            response = await self.http.post(action[1], data=form)

    async def login(self, name: str) -> httpx.Response:
        """Sign in at the provider as `name`, request the callback URL, and return the response."""
        return await self.http.get(await self.authorize(name))
