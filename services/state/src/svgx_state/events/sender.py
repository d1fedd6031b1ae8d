"""The sender of deliveries: one HTTP request to a checked address."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from svgx_common.contract.errors import Invalid
from svgx_state.events.name_lookups import NameLookups
from svgx_state.events.signatures import signed_headers
from svgx_state.events.targets import (
    Network,
    Resolve,
    Target,
    TargetRefused,
    allowed_addresses,
    parse_target,
)

USER_AGENT = "svgx-webhooks/1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt: the status of the response, if there was one, and the cause of a failure."""

    status: int | None
    error: str | None

    @property
    def succeeded(self) -> bool:
        """Return whether the receiver has accepted the delivery."""
        return self.error is None


class Sender:
    """The sender of signed deliveries. `timeout_seconds` is the time limit of a whole attempt.

    `networks` are the private networks to which deliveries may connect. `resolve` replaces the lookups of names.
    `tls` replaces the certificates of the system.

    The sender follows no redirect and uses no proxy, because both could lead to an address that was not checked. It
    reads no body of a response, because nothing needs the body, and a receiver could send a body without end.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        require_https: bool,
        timeout_seconds: float,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._networks = networks
        self._require_https = require_https
        self._timeout_seconds = timeout_seconds
        self._lookups = NameLookups()
        self._resolve = resolve or self._lookups.resolve
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            # With `trust_env=False`, a context that the client creates ignores SSL_CERT_FILE, which names the
            # operator's own authority. A context of `create_ssl_context` uses SSL_CERT_FILE.
            verify=tls or httpx2.create_ssl_context(),
            timeout=timeout_seconds,
            # The cookies of a receiver would be sent to other receivers at the same address.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # A kept connection must not be used for another name at the same address.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def check(self, url: str) -> None:
        """Raise `Invalid` for the field `url` unless deliveries may be sent to this URL at present."""
        target = parse_target(url, require_https=self._require_https)
        try:
            await allowed_addresses(target, self._networks, self._resolve)
        except TargetRefused as refusal:
            raise Invalid(f"url: {refusal}", field="url") from None

    async def send(self, url: str, secrets: Sequence[str], message_id: str, body: bytes) -> Outcome:
        """Send one delivery, signed with each secret. The outcome names a failure without details of the network."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                target = parse_target(url, require_https=self._require_https)
                addresses = await allowed_addresses(target, self._networks, self._resolve)
                headers = signed_headers(secrets, message_id, int(time.time()), body)
                status = await self._post(target, str(addresses[0]), headers, body)
        except (TargetRefused, Invalid) as refusal:
            return Outcome(None, str(refusal))
        except TimeoutError:
            return Outcome(None, f"there was no response within {self._timeout_seconds:g} s")
        except (httpx2.HTTPError, UnicodeError) as error:
            return Outcome(None, _cause(error))
        if 200 <= status < 300:
            return Outcome(status, None)
        if 300 <= status < 400:
            return Outcome(
                status, f"the response has the status {status}; redirects are not followed"
            )
        return Outcome(status, f"the response has the status {status}")

    async def _post(
        self, target: Target, address: str, headers: dict[str, str], body: bytes
    ) -> int:
        """Send the request to `address`, and return the status. TLS checks the certificate for the host's name.

        The client connects to the checked address and not to the name, because a second DNS answer could lead to
        another address.
        """
        host = f"[{address}]" if ":" in address else address
        request = self._client.build_request(
            "POST",
            f"{target.scheme}://{host}:{target.port}{target.path}",
            content=body,
            headers={
                **headers,
                "Host": target.authority,
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
                "Accept-Encoding": "identity",
            },
            extensions={"sni_hostname": target.host},
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()
        return response.status_code


def _cause(error: httpx2.HTTPError | UnicodeError) -> str:
    """Return the cause of a failure. httpx2 decodes the host of a redirect, which raises the `UnicodeError`."""
    match error:
        case httpx2.TimeoutException():
            return "the receiver is too slow"
        case httpx2.ConnectError():
            return "there was no connection, or the receiver's certificate is not valid"
        case httpx2.ProtocolError() | UnicodeError():
            return "the response is not valid HTTP"
        case _:
            return "the connection was lost"
