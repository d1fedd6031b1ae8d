"""One OpenID Connect provider: where its endpoints are, its keys, and the exchange of codes."""

import asyncio
import time
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
"""Seconds the provider has for each answer."""

METADATA_SECONDS = 3600.0
"""Time the provider's endpoints are believed."""

ASK_AGAIN = 30.0
"""Seconds in which tokens that do not count make this fetch the keys once: they may have been rotated."""

_WANTED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class _Known:
    metadata: dict[str, Any]
    keys: KeySet
    until: float
    keys_at: float


class Provider:
    """Talks to one provider. Asks it nothing before somebody wants to sign in."""

    def __init__(self, settings: OidcProvider, redirect_uri: str) -> None:
        self.settings = settings
        self._redirect_uri = redirect_uri
        self._known: _Known | None = None
        self._asking = asyncio.Lock()
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
        known = await self._look()
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
            known = await self._look()
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
        return {name: value for name, value in found.items() if name not in claims}

    async def _look(self) -> _Known:
        """Endpoints and keys, asked for now and then. Raises `Unavailable`."""
        async with self._asking:
            known = self._known
            if known is None or time.monotonic() > known.until:
                known = self._known = await self._discover()
            return known

    async def _discover(self) -> _Known:
        issuer = self.settings.issuer
        metadata = await self._fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            if metadata.get("issuer") != issuer:
                raise ValueError("it says that it is another issuer")
            for name in _WANTED:
                url(str(metadata.get(name)))
            keys = KeySet.import_key_set(await self._fetch(metadata["jwks_uri"]))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError) as error:
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
