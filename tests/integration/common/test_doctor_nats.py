"""The doctor's check of NATS, with real servers that have one fault each."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from svgx_common.contract.auth import (
    FIND_ACCOUNTS,
    FindAccountsRequest,
    FoundAccounts,
)
from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.permissions import permissions
from svgx_common.contract.revocations import REVOKED
from svgx_common.doctor import nats
from svgx_common.doctor.findings import Finding, Status
from svgx_common.doctor.nats import check_nats
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_common.nats_server.nkeys import UserKey
from svgx_common.nats_server.users import users_configuration
from svgx_devstack import DevStack
from tests.certificates import write_certificate
from tests.integration.common.example_operations import PartialResponder
from tests.integration.common.nats_server import nats_server

KEY = UserKey.generate()


def problems(findings: list[Finding]) -> dict[str, Finding]:
    """Return the findings that are not `ok`, by check. Fail if one does not say how to correct its fault."""
    found = {each.check: each for each in findings if each.status is not Status.OK}
    assert all(each.fix.endswith(".") for each in found.values())
    return found


def configuration(service: ServiceName) -> str:
    """Return a server's configuration of users, with the right key of one service and wrong keys of the others."""

    def credentials(each: ServiceName) -> str:
        return f"nkey: {KEY.public if each == service else UserKey.generate().public}"

    return users_configuration(credentials)


@pytest.fixture
def patient_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check wait longer for answers. For tests in which each request is answered."""
    monkeypatch.setattr(nats, "ANSWER_SECONDS", 6.0)


@pytest.mark.usefixtures("patient_check")
@pytest.mark.parametrize("service", SERVICES)
async def test_healthy_server_permits_every_subject(
    backing: DevStack, service: ServiceName
) -> None:
    """No check fails. Only the other services are reported as missing, because none runs. Proves R-CONFIG-7."""
    findings = await check_nats(service, backing.nats_url(service), "")
    found = problems(findings)
    assert {each.status for each in found.values()} <= {Status.WARNING}
    assert all(check.startswith("service ") for check in found), found
    allowed = permissions(service)
    details = {each.check: each.detail for each in findings}
    assert details["nats subscribe"] == f"all {len(allowed.subscribe)} subjects are permitted"
    assert details["nats publish"] == f"all {len(allowed.publish)} subjects are permitted"
    assert details["nats reply"] == "the service may answer requests"


@pytest.mark.usefixtures("patient_check")
async def test_probe_of_another_service_runs_no_handler(backing: DevStack) -> None:
    """A running replica answers the probe, and neither its handlers nor its listeners run. Proves R-CONFIG-7."""
    calls: list[object] = []

    async def find(request: FindAccountsRequest, _: Call) -> FoundAccounts:
        calls.append(request)
        return FoundAccounts(items=[])

    async def note(_: str, content: bytes) -> None:
        calls.append(content)

    auth = await Bus.connect(backing.nats_url("auth"), "auth", "one")
    gateway = await Bus.connect(backing.nats_url("gateway"), "gateway", "two")
    responder = PartialResponder(auth, "0")
    responder.answer(FIND_ACCOUNTS, find)
    try:
        await responder.start()
        await gateway.listen(REVOKED.subject, note)
        await gateway.settle()
        findings = await check_nats("state", backing.nats_url("state"), "")
        findings += await check_nats("auth", backing.nats_url("auth"), "")
        await gateway.settle()
    finally:
        await auth.close()
        await gateway.close()
    details = {each.check: each.detail for each in findings if each.status is Status.OK}
    assert details["service auth"] == "a replica answers"
    assert details["service auth clock"] == "agrees with the clock of this machine"
    assert calls == []


@contextlib.contextmanager
def silent_listener() -> Iterator[str]:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}"


async def test_unreachable_server_is_named_without_the_password(backing: DevStack) -> None:
    """Unreachable and silent servers are reported within seconds, and other servers are checked. Proves R-CONFIG-7."""
    with silent_listener() as silent:
        good = backing.nats_url("state").removeprefix("nats://")
        url = f"nats://{good},nats://127.0.0.1:1,{silent}"
        async with asyncio.timeout(15):
            findings = await check_nats("state", url, "")
    found = [each for each in findings if each.status is Status.FAILED]
    addresses = ["127.0.0.1:1", silent.removeprefix("nats://")]
    assert [each.detail for each in found] == [f"{each} is not reachable" for each in addresses]
    password = good.partition("@")[0].partition(":")[2]
    assert password not in json.dumps([each.detail + each.fix for each in findings])
    assert "nats publish" in {each.check for each in findings}


@pytest.mark.parametrize(
    "break_url",
    [
        lambda url: url.replace("@", "x@"),
        lambda url: "nats://" + url.partition("@")[2],
        lambda url: url.replace("state:", "unknown:"),
    ],
    ids=["wrong password", "no user", "unknown user"],
)
async def test_refused_user_is_named(backing: DevStack, break_url: Callable[[str], str]) -> None:
    """The finding's `fix` names the variables with the credentials. Proves R-CONFIG-7."""
    (finding,) = await check_nats("state", break_url(backing.nats_url("state")), "")
    assert (finding.status, finding.check) == (Status.FAILED, "nats")
    assert finding.detail.endswith("refuses the user")
    assert "NATS_URL" in finding.fix
    assert "NATS_NKEY_SEED" in finding.fix


@pytest.mark.usefixtures("patient_check")
async def test_unknown_key_is_named_by_its_public_key(tmp_path: Path) -> None:
    """The operator compares the public key with the server's. The seed is not shown. Proves R-CONFIG-7."""
    other = UserKey.generate()
    async with nats_server(tmp_path, configuration("state")) as url:
        (refused,) = await check_nats("state", url, other.seed)
        accepted = await check_nats("state", url, KEY.seed)
    assert other.public in refused.detail
    assert other.seed not in refused.detail + refused.fix
    assert refused.status is Status.FAILED
    assert problems(accepted).keys() == {"service auth", "service collab"}


@pytest.mark.parametrize(
    ("service", "removed", "check"),
    [
        ("state", "svgx.auth.account.find", "nats publish"),
        ("state", "svgx.canvas.*.access", "nats publish"),
        ("state", "svgx.state.journal.append", "nats subscribe"),
        ("state", "_INBOX.state.>", "nats reply"),
        ("gateway", "svgx.canvas.*.update", "nats subscribe"),
        ("gateway", "$SRV.PING", "nats publish"),
        ("gateway", "svgx.gateway.connection.list", "nats publish"),
        ("gateway", "svgx.gateway.replica.drain", "nats publish"),
        ("collab", "svgx.state.journal.load", "nats publish"),
        ("collab", "svgx.collab.open", "nats publish"),
        ("auth", "svgx.auth.revoked", "nats publish"),
    ],
)
async def test_missing_permission_names_the_subject(
    tmp_path: Path, service: ServiceName, removed: str, check: str
) -> None:
    """The check of the missing permission fails and names the subject, and no other check of NATS fails.

    A service without its inbox fails further checks. Proves R-CONFIG-7.
    """
    block = configuration(service)
    own = block.index(KEY.public)
    before, text = block[:own], block[own:]
    wanted = "publish: [" if check == "nats publish" else "subscribe: ["
    start = text.index(wanted)
    line = f'\n          "{removed}"'
    assert line in text[start:]
    position = text.index(line, start)
    text = text[:position] + text[position + len(line) :]
    async with nats_server(tmp_path, before + text) as url:
        found = problems(await check_nats(service, url, KEY.seed))
    assert found[check].status is Status.FAILED
    if check != "nats reply":
        assert removed in found[check].detail
        assert [each for each in found if each.startswith("nats")] == [check]


async def test_missing_right_to_answer_is_named(tmp_path: Path) -> None:
    """Without `allow_responses` all requests to the service would time out. Proves R-CONFIG-7."""
    text = configuration("state").replace("allow_responses", "# allow_responses")
    async with nats_server(tmp_path, text) as url:
        found = problems(await check_nats("state", url, KEY.seed))
    assert found["nats reply"].status is Status.FAILED


@pytest.mark.usefixtures("patient_check")
async def test_small_message_limit_is_named(tmp_path: Path) -> None:
    """A limit of messages below NATS' default of 1 MiB is a fault, and the fix names the setting. Proves R-CONFIG-7."""
    text = f"max_payload: 65536\n{configuration('collab')}"
    async with nats_server(tmp_path, text) as url:
        findings = await check_nats("collab", url, KEY.seed)
    assert "max_payload" in problems(findings)["nats"].fix


@pytest.mark.parametrize(
    "case",
    [
        (90, True, Status.OK),
        (5, True, Status.WARNING),
        (90, False, Status.FAILED),
        (-1, True, Status.FAILED),
    ],
    ids=["valid", "ends soon", "unknown authority", "ended"],
)
async def test_certificate_of_the_server_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[int, bool, Status]
) -> None:
    """A certificate that expires soon causes only a warning, because clients still accept it.

    A certificate that clients refuse causes a failure with the reason. Proves R-CONFIG-7.
    """
    days, trusted, status = case
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write_certificate(certificate, days, key)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = f'tls {{cert_file: "{certificate}", key_file: "{key}"}}\n'
    async with nats_server(tmp_path, tls + configuration("state")) as url:
        findings = await check_nats("state", url.replace("nats://", "tls://"), KEY.seed)
    found = {each.check: each for each in findings}["nats certificate"]
    assert found.status is status, found
    assert ("TLS is refused" in found.detail) == (status is Status.FAILED)
