"""The client of one OpenID Connect provider: discovery of its endpoints and keys, and the exchange of codes."""

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
from joserfc.jwk import Key, KeySet, import_key

from svgx_auth.oidc import id_token
from svgx_auth.oidc.id_token import InvalidIdToken
from svgx_auth.oidc.settings import OidcProvider, check_url
from svgx_common.contract.errors import Unauthenticated, Unavailable

log = structlog.get_logger(__name__)

DISCOVERY_TIMEOUT = 5.0
"""Time limit of a discovery, in seconds. In each other request to the provider, it is the limit of a single read.

A discovery fetches the provider's endpoints and keys.
"""

EXCHANGE_TIMEOUT = 9.0
"""Time limit of the whole exchange of a code, in seconds.

The sum of this limit and `DISCOVERY_TIMEOUT` is below the operation's limit of 15 s.
"""

MAX_WAITING = 8
"""Largest number of requests that wait for the provider at the same time. Further requests get `Unavailable`.

The number is limited because all sign-ins share 64 slots of the service, and a slow provider must not occupy them all.
"""

DISCOVERY_RETRY_SECONDS = 5.0
"""Seconds from a failed discovery to the next one. Until then, no request is sent to the provider."""

METADATA_SECONDS = 3600.0
"""Lifetime of the discovered endpoints and keys, in seconds. Beyond it, they are fetched again."""

KEY_REFETCH_SECONDS = 30.0
"""Minimum age, in seconds, at which keys are fetched again because of an invalid ID token.

They are fetched again because the provider may have signed the token with a new key.
"""

MAX_LOGGED_CHARACTERS = 128
"""Largest number of characters of a key's `kid` in a log line."""

_EMAIL_CLAIMS = {"email", "email_verified"}
_REQUIRED_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")

_ANSWER_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
"""Errors of a request to a provider that does not answer or sends wrong data.

Authlib raises `TypeError` or `OverflowError` for an expiry that is no number, and the JSON parser raises
`RecursionError` for deeply nested values.
"""


@dataclass(frozen=True, slots=True)
class Discovery:
    """The result of a discovery: the provider's endpoints and keys.

    `fetched_at` is a time of the monotonic clock, in seconds.
    """

    metadata: dict[str, Any]
    keys: KeySet
    fetched_at: float

    def is_fresh(self) -> bool:
        """Return whether the endpoints and keys are recent enough to use."""
        return time.monotonic() <= self.fetched_at + METADATA_SECONDS


class Provider:
    """The client of one provider. It sends no request before the first sign-in."""

    def __init__(self, settings: OidcProvider, redirect_uri: str) -> None:
        self.settings = settings
        self._redirect_uri = redirect_uri
        self._discovered: Discovery | None = None
        self._discovering = asyncio.Lock()
        self._retry_at = 0.0
        self._waiting = 0
        self._client: AsyncOAuth2Client | None = None

    async def close(self) -> None:
        """Close the connections to the provider."""
        if self._client is not None:
            await self._client.aclose()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Return the URL of the provider's sign-in page, to which the browser is sent. Raises `Unavailable`."""
        discovered = await self._discover_in_slot()
        address, _ = self._oauth_client(discovered).create_authorization_url(
            discovered.metadata["authorization_endpoint"],
            state=state,
            nonce=nonce,
            code_verifier=verifier,
        )
        return str(address)

    async def check_issuer(self, issuer: str | None) -> Discovery:
        """Check the parameter `iss` of the callback, which shows whether another provider has answered (RFC 9207).

        Return the discovery for `exchange`. The caller must hold a waiting slot. Raises `Unauthenticated` for another
        provider's answer, and `Unavailable` when discovery fails.
        """
        discovered = await self._discover()
        required = discovered.metadata.get("authorization_response_iss_parameter_supported") is True
        if issuer != self.settings.issuer and (issuer is not None or required):
            raise self._refused("the sign-in answer is from another provider")
        return discovered

    async def exchange(
        self, discovered: Discovery, code: str, *, nonce: str, verifier: str
    ) -> dict[str, Any]:
        """Exchange a code for the claims about the user. The caller must hold a waiting slot.

        `discovered` is the result of `check_issuer`, because no discovery may fail between the removal of the pending
        sign-in and the request with its code.

        Raises `Unauthenticated` or `Unavailable`.
        """
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT):
                return await self._exchange(discovered, code, nonce, verifier)
        except TimeoutError as error:
            raise self._unavailable(error) from None

    @contextlib.contextmanager
    def waiting_slot(self) -> Iterator[None]:
        """Count one request that waits for the provider.

        Raises `Unavailable` beyond `MAX_WAITING` requests, and for a short time after a failed discovery.
        """
        self._check_retry_time()
        if self._waiting >= MAX_WAITING:
            raise Unavailable(
                f"{MAX_WAITING} sign-ins already wait for the provider; try again", retry_after=1.0
            )
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _exchange(
        self, discovered: Discovery, code: str, nonce: str, verifier: str
    ) -> dict[str, Any]:
        try:
            token = await self._oauth_client(discovered).fetch_token(
                discovered.metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                redirect_uri=self._redirect_uri,
            )
        except OAuthError as error:
            raise self._refused("the provider refused the code", reason=str(error.error)) from None
        except _ANSWER_ERRORS as error:
            raise self._unavailable(error) from None
        claims = await self._check_id_token(token.get("id_token"), nonce)
        return claims | await self._missing_claims(discovered, token, claims)

    async def _check_id_token(self, token: object, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token. Raises `Unauthenticated` or `Unavailable`.

        If the token is invalid and the keys are not recent, fetch the keys again and try once more.
        """
        for last_try in (False, True):
            discovered = await self._discover()
            try:
                return id_token.read(
                    token,
                    discovered.keys,
                    issuer=self.settings.issuer,
                    client_id=self.settings.client_id,
                    nonce=nonce,
                )
            except InvalidIdToken as error:
                # The provider may sign with a new key: fetch the keys again, unless they are recent.
                recent = time.monotonic() - discovered.fetched_at < KEY_REFETCH_SECONDS
                if last_try or recent:
                    raise self._refused("the ID token is not valid", reason=str(error)) from None
                self._discovered = None
        raise AssertionError

    async def _missing_claims(
        self, discovered: Discovery, token: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the claims of the userinfo endpoint that the ID token does not have.

        Some providers give certain claims only at this endpoint. The endpoint is called only when the ID token lacks a
        claim that this service uses. Claims of the ID token are never replaced. Raises `Unauthenticated` or
        `Unavailable`.
        """
        endpoint = discovered.metadata.get("userinfo_endpoint")
        wanted = {
            "preferred_username",
            *_EMAIL_CLAIMS,
            (self.settings.role_claim or "email").split(".")[0],
        }
        if not isinstance(endpoint, str) or wanted <= set(claims):
            return {}
        access_token = token.get("access_token")
        if not isinstance(access_token, str):
            raise self._unavailable(TypeError("the answer has no access token"))
        userinfo = await self._fetch(endpoint, f"Bearer {access_token}")
        if userinfo.get("sub") != claims["sub"]:
            raise self._refused("the userinfo is about another subject")
        if _EMAIL_CLAIMS & set(claims) and userinfo.get("email") != claims.get("email"):
            # Never combine the address of one source with `email_verified` of the other source.
            userinfo = {
                name: value for name, value in userinfo.items() if name not in _EMAIL_CLAIMS
            }
        return {name: value for name, value in userinfo.items() if name not in claims}

    async def _discover_in_slot(self) -> Discovery:
        """Return the endpoints and keys. Fetching them occupies a waiting slot. Raises `Unavailable`."""
        if self._discovered is not None and self._discovered.is_fresh():
            return self._discovered
        with self.waiting_slot():
            return await self._discover()

    async def _discover(self) -> Discovery:
        """Return the endpoints and keys. The caller must hold a waiting slot. Raises `Unavailable`.

        Of several callers at the same time, the first fetches the endpoints and keys, and the others wait.
        """
        async with self._discovering:
            if self._discovered is None or not self._discovered.is_fresh():
                self._discovered = None
                self._check_retry_time()
                try:
                    self._discovered = await self._fetch_metadata()
                except Unavailable:
                    self._retry_at = time.monotonic() + DISCOVERY_RETRY_SECONDS
                    raise
            return self._discovered

    def _check_retry_time(self) -> None:
        """Raise `Unavailable` when discovery has failed less than `DISCOVERY_RETRY_SECONDS` ago."""
        wait = self._retry_at - time.monotonic()
        if self._discovered is None and wait > 0:
            raise Unavailable("the sign-in provider is not reachable; try again", retry_after=wait)

    async def _fetch_metadata(self) -> Discovery:
        issuer = self.settings.issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            # This limit applies to both answers together. The HTTP client's own limit applies to each read.
            async with asyncio.timeout(DISCOVERY_TIMEOUT):
                metadata = await self._fetch(address)
                if metadata.get("issuer") != issuer:
                    raise ValueError("the metadata names another issuer")
                for name in _REQUIRED_ENDPOINTS:
                    check_url(str(metadata.get(name)))
                if isinstance(userinfo := metadata.get("userinfo_endpoint"), str):
                    check_url(userinfo)
                keys = self._read_keys(await self._fetch(metadata["jwks_uri"]))
        except (JoseError, ValueError, TypeError, KeyError, TimeoutError) as error:
            raise self._unavailable(error) from None
        return Discovery(metadata, keys, time.monotonic())

    def _read_keys(self, jwk_set: dict[str, Any]) -> KeySet:
        """Return the readable keys of a JWK Set. Raises `ValueError` without such a key, and `KeyError` or `TypeError`.

        Other keys are left out, such as a key with a curve that this service does not know. The provider may publish
        them for other clients (RFC 7517, section 5).
        """
        keys: list[Key] = []
        for jwk in list(jwk_set["keys"]):
            try:
                keys.append(import_key(dict(jwk)))
            except (JoseError, ValueError, TypeError, KeyError) as error:
                log.warning(
                    "a key of a sign-in provider cannot be read and is left out",
                    provider=self.settings.name,
                    kid=str(jwk.get("kid"))[:MAX_LOGGED_CHARACTERS]
                    if isinstance(jwk, dict)
                    else "",
                    error=type(error).__name__,
                )
        if not keys:
            raise ValueError("the provider has no readable key")
        return KeySet(keys)

    async def _fetch(self, address: str, authorization: str | None = None) -> dict[str, Any]:
        """Fetch a JSON object. Raises `Unavailable`."""
        headers = {"Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            async with httpx2.AsyncClient(timeout=DISCOVERY_TIMEOUT) as http:
                answer = (await http.get(address, headers=headers)).raise_for_status().json()
            if not isinstance(answer, dict):
                raise ValueError("the answer is not a JSON object")
        except _ANSWER_ERRORS as error:
            raise self._unavailable(error) from None
        return answer

    def _oauth_client(self, discovered: Discovery) -> AsyncOAuth2Client:
        """Return the OAuth client. It is created once, because its creation takes longer than its use."""
        if self._client is None:
            secret = self.settings.client_secret
            supported = discovered.metadata.get("token_endpoint_auth_methods_supported")
            if not isinstance(supported, list):
                supported = []
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
                timeout=DISCOVERY_TIMEOUT,
            )
        return self._client

    def _refused(self, event: str, *, reason: str = "") -> Unauthenticated:
        """Log the details, and return an error without these details for the client."""
        log.warning(event, provider=self.settings.name, reason=reason)
        return Unauthenticated("the provider's answer is not valid: sign in again")

    def _unavailable(self, error: Exception) -> Unavailable:
        """Log the error, and return an error for the client."""
        log.warning(
            "a sign-in provider does not answer correctly",
            provider=self.settings.name,
            error=type(error).__name__,
        )
        return Unavailable("the sign-in provider is not reachable; try again", retry_after=5.0)
