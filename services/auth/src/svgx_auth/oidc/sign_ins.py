"""Pending sign-ins. Each sign-in begins here, continues at a provider, and finishes here at most once.

The URL parameter `state` and a cookie of the browser identify the sign-in when the browser returns. Nonce and code
verifier are derived from the state with a key that is derived from the server's secret. Therefore any replica can
finish a sign-in, and the stored rows alone are not enough to finish a sign-in.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Any

from svgx_auth.keys.derived_keys import derived_key
from svgx_auth.keys.token_hash import hash_of
from svgx_auth.oidc.provider import Provider
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.errors import BadRequest, NotFound, Unauthenticated
from svgx_common.contract.oidc import OidcCallbackRequest
from svgx_common.contract.operation import Redirect
from svgx_common.database.batches import remove_in_batches
from svgx_common.postgres import Database

SIGN_IN_SECONDS = 600
"""Time limit of a sign-in at a provider, in seconds. Beyond it, the user must begin again."""

_PURPOSE = b"svgx oidc sign-in v1"


class SignIns:
    """The `oidc_sign_in` table.

    `public_url` is the URL at which browsers reach the gateway. `secret` is the server's secret.
    """

    def __init__(
        self, database: Database, providers: Iterable[OidcProvider], public_url: str, secret: str
    ) -> None:
        self._database = database
        self._key = derived_key(secret, _PURPOSE)
        self._providers = {
            settings.name: Provider(
                settings,
                settings.redirect_uri
                or f"{public_url.rstrip('/')}/auth/oidc/{settings.name}/callback",
            )
            for settings in providers
        }

    async def close(self) -> None:
        """Close the connections to the providers."""
        for provider in self._providers.values():
            await provider.close()

    async def begin(self, name: str) -> Redirect:
        """Begin a sign-in: return the provider's URL, and the text that the browser keeps as a cookie.

        Raises `NotFound` or `Unavailable`.
        """
        provider = self._provider(name)
        state, cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        location = await provider.authorization_url(
            state=state,
            nonce=self._derived("nonce", state),
            verifier=self._derived("verifier", state),
        )
        await self._database.run(
            "begin_oidc", hash_of(state), name, hash_of(cookie), SIGN_IN_SECONDS
        )
        return Redirect(location=location, remember=cookie, seconds=SIGN_IN_SECONDS)

    async def finish(self, answer: OidcCallbackRequest) -> tuple[OidcProvider, dict[str, Any]]:
        """Finish the pending sign-in of a callback. Return the provider's settings and the claims of its user.

        A sign-in can finish only once. It stays pending after an answer of another provider, and when `Unavailable` is
        raised before the code is sent to the provider. Then the browser may repeat the callback.

        Raises `NotFound` for an unknown provider, `BadRequest` without a pending sign-in in this browser,
        `Unauthenticated` for an answer that is not valid, and `Unavailable` while the provider is not available.
        """
        provider = self._provider(answer.provider)
        # Hold the slot until the exchange ends, because a sign-in without a slot would be removed and then refused.
        with provider.waiting_slot():
            discovered = await provider.check_issuer(answer.iss)
            state = await self._remove(answer)
            if answer.error is not None or answer.code is None:
                raise Unauthenticated("you have not signed in at the provider")
            claims = await provider.exchange(
                discovered,
                answer.code,
                nonce=self._derived("nonce", state),
                verifier=self._derived("verifier", state),
            )
        return provider.settings, claims

    async def remove_old(self) -> None:
        """Remove sign-ins that did not finish within `SIGN_IN_SECONDS`."""
        await remove_in_batches(lambda rows: self._database.row("forget_oidc", rows))

    async def _remove(self, answer: OidcCallbackRequest) -> str:
        """Remove the pending sign-in of a callback, and return its state. Raises `BadRequest` if there is none."""
        row = None
        if answer.state and answer.browser:
            row = await self._database.row(
                "end_oidc", hash_of(answer.state), answer.provider, hash_of(answer.browser)
            )
        if row is None or answer.state is None:
            raise BadRequest(
                "state: this sign-in was not begun in this browser, has finished already,"
                f" or took over {SIGN_IN_SECONDS} s",
                field="state",
                limit=SIGN_IN_SECONDS,
            )
        return answer.state

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise NotFound("there is no sign-in provider with this name", field="provider")
        return self._providers[name]

    def _derived(self, purpose: str, state: str) -> str:
        """Return a text of 43 characters that is derived from the state for one purpose."""
        digest = hmac.digest(self._key, f"{purpose} {state}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
