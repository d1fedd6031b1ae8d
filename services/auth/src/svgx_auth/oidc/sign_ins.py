"""Sign-ins that are under way: begun here, continued at a provider, finished here once.

What ties the two ends together is the `state` that travels through the browser and a cookie that stays in it. Nonce and
code verifier are made from the state under a key that only the service has: so nothing that is stored finishes a
sign-in, and any replica can.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from svgx_auth.keys.derived_keys import derived_key
from svgx_auth.oidc.provider import Provider
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.errors import BadRequest, NotFound
from svgx_common.contract.oidc import OidcCallbackRequest
from svgx_common.contract.operation import Redirect
from svgx_common.postgres import Database

LASTS = 600
"""Seconds somebody has at the provider."""

FORGET_AT_ONCE = 10_000
"""Rows one statement removes."""

_PURPOSE = b"svgx oidc sign-in v1"


@dataclass(frozen=True, slots=True)
class Returned:
    """Somebody came back in the browser in which the sign-in was begun."""

    provider: Provider
    nonce: str
    verifier: str


class SignIns:
    """The `oidc_sign_in` table. `public_url` is where browsers reach the gateway; `secret` is the server's."""

    def __init__(
        self, database: Database, providers: Iterable[OidcProvider], public_url: str, secret: str
    ) -> None:
        self._database = database
        self._key = derived_key(secret, _PURPOSE)
        self._providers = {
            each.name: Provider(
                each,
                each.redirect_uri or f"{public_url.rstrip('/')}/auth/oidc/{each.name}/callback",
            )
            for each in providers
        }

    async def close(self) -> None:
        """Disconnect from the providers."""
        for provider in self._providers.values():
            await provider.close()

    async def begin(self, name: str) -> Redirect:
        """Where the browser goes, and what it remembers. Raises `NotFound` or `Unavailable`."""
        provider = self._provider(name)
        state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        location = await provider.authorization_url(
            state=state, nonce=self._made("nonce", state), verifier=self._made("verifier", state)
        )
        await self._database.run("begin_oidc", _hash(state), name, _hash(browser), LASTS)
        return Redirect(location=location, remember=browser, seconds=LASTS)

    async def returned(self, answer: OidcCallbackRequest) -> Returned:
        """The sign-in that this answer ends, once. Raises `NotFound`, and `BadRequest` for one there is none for.

        Raises `Unavailable` while it could not be finished: it can be a little later.
        """
        provider = self._provider(answer.provider)
        provider.check_reachable()
        row = None
        if answer.state and answer.browser:
            row = await self._database.row(
                "end_oidc", _hash(answer.state), answer.provider, _hash(answer.browser)
            )
        if row is None or answer.state is None:
            raise BadRequest(
                f"state: this sign-in was not begun in this browser, or has been used, or took over {LASTS} s",
                field="state",
                limit=LASTS,
            )
        return Returned(
            provider, self._made("nonce", answer.state), self._made("verifier", answer.state)
        )

    async def forget_old(self) -> None:
        """Remove those that nobody came back from."""
        await self._database.run("forget_oidc", FORGET_AT_ONCE)

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise NotFound("there is no sign-in provider of this name", field="provider")
        return self._providers[name]

    def _made(self, purpose: str, state: str) -> str:
        """43 characters that follow from the state."""
        digest = hmac.digest(self._key, f"{purpose} {state}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
