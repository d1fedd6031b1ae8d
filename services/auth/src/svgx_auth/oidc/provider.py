"""One OpenID Connect provider: where its endpoints are, its keys, and the exchange of codes."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from svgx_auth.oidc import id_token
from svgx_auth.oidc.id_token import NotValid
from svgx_auth.oidc.settings import OidcProvider, url
from svgx_common.contract.errors import Unauthenticated, Unavailable

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds the provider has for its endpoints and keys, and for each other answer."""

EXCHANGE = 9.0
"""Seconds for all that a code is exchanged with: with `PATIENCE` before it, less than the operation's time limit."""

MAX_WAITING = 8
"""Requests that wait for the provider at once: a service answers 64 requests at once, and they are for others too."""

AWAY = 5.0
"""Seconds without asking after the provider's endpoints and keys could not be had."""

METADATA_SECONDS = 3600.0
"""Time the provider's endpoints are believed."""

ASK_AGAIN = 30.0
"""Seconds in which tokens that do not count make this fetch the keys once: they may have been rotated."""

_EMAIL = {"email", "email_verified"}
_WANTED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class _Known:
    metadata: dict[str, Any]
    keys: KeySet
    until: float
    keys_at: float

    def fresh(self) -> bool:
        """Whether it is still believed."""
        return time.monotonic() <= self.until


class Provider:
    """Talks to one provider. Asks it nothing before somebody wants to sign in."""

    def __init__(self, settings: OidcProvider, redirect_uri: str) -> None:
        self.settings = settings
        self._redirect_uri = redirect_uri
        self._known: _Known | None = None
        self._asking = asyncio.Lock()
        self._away_until = 0.0
        self._waiting = 0
        self._client: AsyncOAuth2Client | None = None

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.aclose()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where the browser is sent. Raises `Unavailable`."""
        known = await self._look()
        address, _ = self._http(known).create_authorization_url(
            known.metadata["authorization_endpoint"],
            state=state,
            nonce=nonce,
            code_verifier=verifier,
        )
        return str(address)

    async def check_issuer(self, said: str | None) -> None:
        """Whether the answer is this provider's, and not one another has been mixed up with (RFC 9207).

        Raises `Unauthenticated` or `Unavailable`.
        """
        known = await self._look()
        promised = known.metadata.get("authorization_response_iss_parameter_supported") is True
        if said != self.settings.issuer and (said is not None or promised):
            raise self._refused("the answer is another provider's")

    async def exchange(self, code: str, *, nonce: str, verifier: str) -> dict[str, Any]:
        """What the provider says of whoever brought this code. Raises `Unauthenticated` or `Unavailable`."""
        with self._turn():
            try:
                async with asyncio.timeout(EXCHANGE):
                    return await self._exchange(code, nonce, verifier)
            except TimeoutError as error:
                raise self._away(error) from None

    def check_reachable(self) -> None:
        """Raise `Unavailable` where asking would be in vain; before something is spent for it."""
        self._check_away()
        if self._waiting >= MAX_WAITING:
            raise Unavailable(
                f"{MAX_WAITING} sign-ins wait for the provider already; try again", retry_after=1.0
            )

    async def _exchange(self, code: str, nonce: str, verifier: str) -> dict[str, Any]:
        known = await self._ask()
        try:
            token = await self._http(known).fetch_token(
                known.metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                redirect_uri=self._redirect_uri,
            )
        except OAuthError as error:
            raise self._refused("the code does not count", reason=str(error.error)) from None
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from None
        claims = await self._claims(token.get("id_token"), nonce)
        return claims | await self._userinfo(known, token, claims)

    async def _claims(self, token: object, nonce: str) -> dict[str, Any]:
        for last in (False, True):
            known = await self._ask()
            try:
                return id_token.read(
                    token,
                    known.keys,
                    issuer=self.settings.issuer,
                    client_id=self.settings.client_id,
                    nonce=nonce,
                )
            except NotValid as error:
                # The provider may sign with a new key by now.
                if last or time.monotonic() - known.keys_at < ASK_AGAIN:
                    raise self._refused("the ID token does not count", reason=str(error)) from None
                self._known = None
        raise AssertionError

    async def _userinfo(
        self, known: _Known, token: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """What providers say there only, when something is missing. Nothing of the ID token is replaced by it."""
        endpoint = known.metadata.get("userinfo_endpoint")
        wanted = {
            "preferred_username",
            "email",
            (self.settings.role_claim or "email").split(".")[0],
        }
        if not isinstance(endpoint, str) or wanted <= set(claims):
            return {}
        found = await self._fetch(endpoint, f"Bearer {token['access_token']}")
        if found.get("sub") != claims["sub"]:
            raise self._refused("the userinfo is about somebody else")
        if _EMAIL & set(claims) and found.get("email") != claims.get("email"):
            # That one address is verified says nothing about the other.
            found = {name: value for name, value in found.items() if name not in _EMAIL}
        return {name: value for name, value in found.items() if name not in claims}

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One of the few who may wait for the provider. Raises `Unavailable` when there are enough."""
        self.check_reachable()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _look(self) -> _Known:
        """Endpoints and keys, asked for now and then. Raises `Unavailable`."""
        if self._known is not None and self._known.fresh():
            return self._known
        with self._turn():
            return await self._ask()

    async def _ask(self) -> _Known:
        """The same for who has a turn. One asks, and the others learn what came of it."""
        async with self._asking:
            if self._known is None or not self._known.fresh():
                self._known = None
                self._check_away()
                try:
                    self._known = await self._discover()
                except Unavailable:
                    self._away_until = time.monotonic() + AWAY
                    raise
            return self._known

    def _check_away(self) -> None:
        wait = self._away_until - time.monotonic()
        if self._known is None and wait > 0:
            raise Unavailable("the sign-in provider is not reachable; try again", retry_after=wait)

    async def _discover(self) -> _Known:
        issuer = self.settings.issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            # Of both answers, to their last byte: HTTP's own limit is for each part of one.
            async with asyncio.timeout(PATIENCE):
                metadata = await self._fetch(address)
                if metadata.get("issuer") != issuer:
                    raise ValueError("it says that it is another issuer")
                for name in _WANTED:
                    url(str(metadata.get(name)))
                keys = KeySet.import_key_set(await self._fetch(metadata["jwks_uri"]))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError, TimeoutError) as error:
            raise self._away(error) from None
        now = time.monotonic()
        return _Known(metadata, keys, now + METADATA_SECONDS, now)

    async def _fetch(self, address: str, authorization: str | None = None) -> dict[str, Any]:
        """A JSON object. Raises `Unavailable`."""
        headers = {"Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            async with httpx2.AsyncClient(timeout=PATIENCE) as http:
                answer = (await http.get(address, headers=headers)).raise_for_status().json()
            if not isinstance(answer, dict):
                raise ValueError("not an object")
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from None
        return answer

    def _http(self, known: _Known) -> AsyncOAuth2Client:
        """One for all: its making takes longer than its use."""
        if self._client is None:
            secret = self.settings.client_secret
            supported = known.metadata.get("token_endpoint_auth_methods_supported") or []
            method = "client_secret_basic"
            if secret is None:
                method = "none"
            elif method not in supported and "client_secret_post" in supported:
                method = "client_secret_post"
            self._client = AsyncOAuth2Client(
                client_id=self.settings.client_id,
                client_secret=secret and secret.get_secret_value(),
                token_endpoint_auth_method=method,
                scope=self.settings.scopes,
                redirect_uri=self._redirect_uri,
                code_challenge_method="S256",
                timeout=PATIENCE,
            )
        return self._client

    def _refused(self, why: str, *, reason: str = "") -> Unauthenticated:
        log.warning(why, provider=self.settings.name, reason=reason)
        return Unauthenticated("the provider's answer does not count: sign in again")

    def _away(self, error: Exception) -> Unavailable:
        log.warning(
            "a sign-in provider does not answer as it should",
            provider=self.settings.name,
            error=type(error).__name__,
        )
        return Unavailable("the sign-in provider is not reachable; try again", retry_after=5.0)
