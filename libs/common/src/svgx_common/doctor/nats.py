"""The check of NATS: each server, the service's key, and each subject that the service needs.

A probe is a message with the header `HEADER_PROBE`. It shows whether the service may publish to a subject. No receiver
executes a probe; the responder of an operation only answers it. The check's own subscriptions end immediately. They
join no queue group, so each request still reaches a running replica.
"""

import asyncio
import contextlib
import re
import secrets
import ssl
import time
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from svgx_common.configuration.server_urls import NatsServers, parse_nats
from svgx_common.contract import OPERATIONS
from svgx_common.contract.operation import ServiceName
from svgx_common.contract.permissions import permissions
from svgx_common.contract.transport import echo_subject, inbox_prefix
from svgx_common.doctor.certificates import check_peer, verification_failed
from svgx_common.doctor.clocks import check_clock
from svgx_common.doctor.findings import Finding, failed, ok, warning
from svgx_common.messaging.blobs import PIECE_BYTES
from svgx_common.messaging.connection import sign_in_with
from svgx_common.messaging.headers import HEADER_DEADLINE, HEADER_PROBE, encode_deadline
from svgx_common.messaging.responder import ProbeAnswer
from svgx_common.nats_server.nkeys import UserKey

NAME = "nats"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 2.0

_VIOLATION = re.compile(
    r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE
)
_FIX_PERMISSIONS = (
    "Give the server the permissions that `svgx-gateway nats-config` of the same version prints."
)


@dataclass(slots=True)
class _Violations:
    """The subjects that the server refuses, in lower case, because nats-py changes error messages to lower case."""

    publish: set[str] = field(default_factory=set)
    subscribe: set[str] = field(default_factory=set)

    async def note(self, error: Exception) -> None:
        """Add the subject that an error of the connection names."""
        if (match := _VIOLATION.search(str(error))) is not None:
            (self.publish if match[1].lower() == "publish" else self.subscribe).add(
                match[2].lower()
            )


async def check_nats(service: ServiceName, url: str, seed: str) -> list[Finding]:
    """Check every server of a `NATS_URL`. Check the permissions and the other services on the first working server."""
    servers = parse_nats(url)
    findings: list[Finding] = []
    is_checked = False
    for address in servers.urls:
        violations = _Violations()
        connected = await _connect(service, servers, address, seed, violations)
        if isinstance(connected, Finding):
            findings.append(connected)
            continue
        try:
            findings.append(_check_server(connected, address))
            findings += check_peer(NAME, _ssl_object(connected))
            if not is_checked:
                findings += await _check_rights(service, connected, violations)
                is_checked = True
        finally:
            await _close(connected)
    return findings


async def _connect(
    service: str, servers: NatsServers, address: str, seed: str, violations: _Violations
) -> Client | Finding:
    """Return a connection, or a failed check with the reason."""
    host = address.partition("://")[2]
    client = Client()
    key = UserKey.from_seed(seed) if seed else None
    last_error: Exception | None = None

    async def note(error: Exception) -> None:
        nonlocal last_error
        last_error = error
        await violations.note(error)

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.connect(
                address,
                user=servers.user,
                password=servers.password,
                token=servers.token,
                signature_cb=sign_in_with(client, key),
                name=f"svgx-{service}-doctor",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=2,
                inbox_prefix=inbox_prefix(service),
                error_cb=note,
            )
    except (NatsError, OSError, TimeoutError, ValueError) as error:
        await _close(client)
        return _refusal(host, key, last_error or error, error)
    return client


async def _close(client: Client) -> None:
    """Close a connection. nats-py waits forever when it closes a connection that should have TLS and has none."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(1.0):
            await client.close()


def _refusal(host: str, key: UserKey | None, *errors: Exception) -> Finding:
    """Return the result for a connection that failed with these errors."""
    if (
        refused := next((each for each in errors if isinstance(each, ssl.SSLError)), None)
    ) is not None:
        return verification_failed(NAME, refused)
    if any("authorization" in str(each).lower() for each in errors):
        if key is None:
            fix = "Correct user and password in NATS_URL, or set NATS_NKEY_SEED if the server uses keys."
            return failed(NAME, f"{host} refuses the user", fix)
        fix = (
            "Give the server this public key, or set NATS_NKEY_SEED to the seed of a public key that the server "
            "knows."
        )
        return failed(NAME, f"{host} does not know the key {key.public}", fix)
    fix = "Start NATS, and check the host and port in NATS_URL and the network policy."
    return failed(NAME, f"{host} is not reachable", fix)


def _check_server(client: Client, address: str) -> Finding:
    server = client.connected_server_version
    version = f"{server.major}.{server.minor}.{server.patch}"
    detail = f"{address.partition('://')[2]} accepts the connection (nats-server {version})"
    if client.max_payload < 2 * PIECE_BYTES:
        return failed(
            NAME,
            f"{detail}, but refuses messages above {client.max_payload} bytes",
            f"Set max_payload of the server to {2 * PIECE_BYTES} bytes, its default.",
        )
    return ok(NAME, detail)


async def _check_rights(
    service: ServiceName, client: Client, violations: _Violations
) -> list[Finding]:
    """Use each subject that the service needs. Return the results for the subjects and for the other services."""
    allowed = permissions(service)
    echo = echo_subject(service, secrets.token_hex(6))
    answers = await _echo(client, echo)
    for subject in allowed.subscribe:
        subscription = await client.subscribe(_concrete(subject))
        await subscription.unsubscribe()
    peers, clocks = await _probe(service, client, violations)
    await _publish_probes(service, client, allowed.publish)
    await _echo(client, echo)  # the answer arrives after the errors about all earlier messages
    return [
        _check_subjects("subscribe", allowed.subscribe, violations.subscribe),
        _check_subjects("publish", allowed.publish, violations.publish),
        ok(f"{NAME} reply", "the service may answer requests")
        if answers
        else failed(f"{NAME} reply", "the service may not answer requests", _FIX_PERMISSIONS),
        *peers,
        *clocks,
    ]


async def _echo(client: Client, subject: str) -> bool:
    """Send a request to this connection, and answer it. Return True if the answer arrives.

    The answer arrives only if the service may answer requests.
    """

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, b"")

    subscription = await client.subscribe(subject, cb=answer)
    try:
        await client.request(subject, timeout=ANSWER_SECONDS)
    except (NatsError, TimeoutError):
        return False
    finally:
        await subscription.unsubscribe()
    return True


def _check_subjects(verb: str, subjects: tuple[str, ...], refused: set[str]) -> Finding:
    """Return the result for all subjects of one kind. `refused` has subjects without wildcards."""
    missing = [each for each in subjects if _concrete(each).lower() in refused]
    check = f"{NAME} {verb}"
    if not missing:
        return ok(check, f"all {len(subjects)} subjects are permitted")
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return failed(check, f"the server refuses {shown}", _FIX_PERMISSIONS)


async def _probe(
    service: ServiceName, client: Client, violations: _Violations
) -> tuple[list[Finding], list[Finding]]:
    """Probe the operations of other services that the service calls. Return results for these services and clocks.

    A service of which all subjects are refused has no result here, because `_check_subjects` reports the refusals.
    """
    subjects: dict[str, list[str]] = {}
    for operation in OPERATIONS:
        if service in operation.callers and operation.service != service:
            subjects.setdefault(operation.service, []).append(operation.subject)
    peers, clocks = [], []
    for peer, asked in subjects.items():
        answers = await asyncio.gather(*(_ask(client, subject) for subject in asked))
        received = [answer for answer in answers if isinstance(answer, _Answer)]
        if received:
            peers.append(ok(f"service {peer}", "a replica answers"))
            best = min(received, key=lambda answer: answer.uncertainty)
            clocks.append(check_clock(f"service {peer}", best.ahead, best.uncertainty))
        elif not violations.publish.issuperset(map(str.lower, asked)):
            fix = f"Start {peer}. If it does not become ready, run `svgx-{peer} doctor` there."
            peers.append(warning(f"service {peer}", "no replica answers", fix))
    return peers, clocks


@dataclass(frozen=True, slots=True)
class _Answer:
    """A replica's answer to a probe: the seconds by which its clock is ahead, and the largest error of this value."""

    ahead: float
    uncertainty: float


async def _ask(client: Client, subject: str) -> _Answer | None:
    sent = time.time()
    try:
        message = await client.request(subject, headers=_probe_headers(), timeout=ANSWER_SECONDS)
        probed = ProbeAnswer.model_validate_json(message.data)
    except (NatsError, TimeoutError, ValidationError):
        return None
    received = time.time()
    return _Answer(probed.at - (sent + received) / 2, (received - sent) / 2)


async def _publish_probes(service: ServiceName, client: Client, subjects: tuple[str, ...]) -> None:
    """Publish a probe to each subject, except to the operations of other services, which `_probe` requests.

    `subjects` may contain operations of the service itself, because a service may call its own operations.
    """
    requested = {operation.subject for operation in OPERATIONS if operation.service != service}
    for subject in subjects:
        if subject not in requested:
            await client.publish(_concrete(subject), headers=_probe_headers())


def _probe_headers() -> dict[str, str]:
    """Return the headers of a probe. The deadline has passed, so a service without support for probes refuses it."""
    return {HEADER_PROBE: "1", HEADER_DEADLINE: encode_deadline(-1.0)}


def _concrete(subject: str) -> str:
    """Return the subject with `doctor` in place of each wildcard. No replica and no canvas has this name."""
    return subject.replace("*", "doctor").replace(">", "doctor")


def _ssl_object(client: Client) -> object:
    transport = getattr(client, "_transport", None)
    writer = getattr(transport, "_io_writer", None)
    return None if writer is None else writer.get_extra_info("ssl_object")
