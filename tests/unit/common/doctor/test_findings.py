"""The results of the command `doctor`, its checks of clocks and certificates, and its time limits."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from svgx_common.configuration.build import BuildId
from svgx_common.contract.operation import SERVICES
from svgx_common.doctor.certificates import check_file
from svgx_common.doctor.clocks import check_clock
from svgx_common.doctor.command import run_checks
from svgx_common.doctor.findings import Finding, Status, as_json, as_text, failed, ok, warning
from tests.certificates import write_certificate

FINDINGS = (
    ok("settings", "valid"),
    warning("service auth", "no replica answers", "Start auth."),
    failed("nats", "host:4222 is not reachable", "Start NATS."),
)


def test_text_has_a_line_for_each_result_and_each_fix() -> None:
    """Proves R-CONFIG-7: the line of each check begins with its status, and the line below a problem has the fix."""
    assert as_text("svgx-state 1.0", FINDINGS).splitlines() == [
        "svgx-state 1.0",
        "  ok       settings      valid",
        "  warning  service auth  no replica answers",
        "                         → Start auth.",
        "  failed   nats          host:4222 is not reachable",
        "                         → Start NATS.",
        "3 checks: 1 failed, 1 with a warning",
    ]


@pytest.mark.parametrize(("findings", "all_well"), [(FINDINGS, False), (FINDINGS[:2], True)])
def test_json_has_every_result(findings: Sequence[Finding], all_well: bool) -> None:
    """Proves R-CONFIG-7: programs read `ok`, and each check with its status and fix."""
    content = json.loads(as_json("state", BuildId("1.0", "4f2a"), findings))
    assert (content["service"], content["version"], content["revision"]) == ("state", "1.0", "4f2a")
    assert content["ok"] == all_well
    assert [each["status"] for each in content["checks"]] == [each.status for each in findings]
    assert content["checks"][1]["fix"] == "Start auth."


@pytest.mark.parametrize(
    ("ahead", "uncertainty", "status"),
    [
        (0.0, 0.0, Status.OK),
        (0.9, 0.0, Status.OK),
        (-1.5, 0.0, Status.WARNING),
        (1.5, 1.0, Status.OK),
        (4.9, 0.0, Status.WARNING),
        (5.1, 0.0, Status.FAILED),
        (-3600.0, 0.5, Status.FAILED),
    ],
)
def test_uncertainty_is_subtracted_from_the_difference_of_a_clock(
    ahead: float, uncertainty: float, status: Status
) -> None:
    """Proves R-CONFIG-7: tokens tolerate five seconds, and the time of a slow answer does not count as a difference."""
    assert check_clock("postgresql", ahead, uncertainty).status is status


@pytest.mark.parametrize(
    ("days", "status"),
    [(-2, Status.FAILED), (0, Status.WARNING), (20, Status.WARNING), (21, Status.OK)],
)
def test_status_of_a_certificate_follows_its_expiry(
    tmp_path: Path, days: int, status: Status
) -> None:
    """Proves R-CONFIG-7: a certificate has a warning in its last three weeks, and fails once it has expired."""
    path = tmp_path / "root.pem"
    write_certificate(path, days)
    assert check_file("postgresql", str(path)).status is status


def test_unreadable_certificate_file_fails(tmp_path: Path) -> None:
    """Proves R-CONFIG-7: a missing or damaged file is named."""
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\n")
    for path in (damaged, tmp_path / "missing.pem"):
        finding = check_file("postgresql", str(path))
        assert (finding.status, str(path) in finding.detail) == (Status.FAILED, True)


async def test_checks_are_bounded_and_faults_are_reported() -> None:
    """Proves R-CONFIG-7: a check that hangs or raises an exception fails alone. The exception's text is not shown."""

    async def hang() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def raise_error() -> list[Finding]:
        raise RuntimeError("hunter2")

    async def succeed() -> list[Finding]:
        return [ok("redis", "fine")]

    checks = {"nats": hang, "postgresql": raise_error, "redis": succeed, "other": None}
    findings = await run_checks(checks, seconds=0.05)
    assert [(each.check, each.status) for each in findings] == [
        ("nats", Status.FAILED),
        ("postgresql", Status.FAILED),
        ("redis", Status.OK),
        ("other", Status.WARNING),
    ]
    assert "hunter2" not in str(findings)


@pytest.mark.parametrize(
    ("service", "form"), list(zip(SERVICES, ("text", "json", "text", "json"), strict=True))
)
def test_doctor_runs_with_wrong_settings(service: str, form: str) -> None:
    """Proves R-CONFIG-7: `doctor` names the wrong settings, checks the servers, and shows no secret."""
    variables = {
        "POSTGRES_URL": "postgresql:hunter2",
        "JWT_SECRET": "hunter2",
        "NATS_URL": "nats://state:hunter2@127.0.0.1:1",
        "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
        "API_PORT": "hunter2",
        "REDIS_ULR": "hunter2",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            f"svgx_{service}",
            "doctor",
            *(["--json"] if form == "json" else []),
        ],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "hunter2" not in done.stdout
    assert "API_PORT" in done.stdout
    assert "127.0.0.1:1 is not reachable" in done.stdout
    if form == "json":
        assert json.loads(done.stdout)["ok"] is False
