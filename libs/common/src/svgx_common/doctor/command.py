"""The command `doctor`: run all checks at the same time, each within a bounded time, and print the results."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from svgx_common import logs
from svgx_common.configuration.build import build_of
from svgx_common.configuration.command_line import Command
from svgx_common.contract.operation import ServiceName
from svgx_common.doctor.findings import Finding, Status, as_json, as_text, count, failed, warning
from svgx_common.doctor.nats import check_nats
from svgx_common.doctor.settings import check_settings
from svgx_common.settings import Settings

CHECK_SECONDS = 20.0
"""Time limit for the checks of one server, in seconds. Each step has a shorter limit of its own."""

Check = Callable[[], Awaitable[list[Finding]]]
Checks = Callable[[Mapping[str, Any]], Mapping[str, Check | None]]
"""Returns further checks of a service by name, from the values of its settings.

None stands for a check that cannot run, because a setting that it needs is wrong.
"""


def doctor_command(
    service: ServiceName, kind: type[Settings], further: Checks = lambda _: {}
) -> Command:
    """Return the command `doctor` of a service. The command ends with status 1 when a check failed."""

    def run(arguments: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(
            f"svgx-{service} doctor",
            description="Check the settings and the servers that this service needs, and say how to correct faults.",
        )
        parser.add_argument("--json", action="store_true", help="print JSON for programs")
        options = parser.parse_args(arguments)
        logs.configure(service, "doctor", "CRITICAL")  # libraries would log each failure
        findings, values = check_settings(kind)
        checks = {**_common_checks(service, values), **further(values)}
        findings += asyncio.run(run_checks(checks))
        build = build_of(service)
        if options.json:
            print(as_json(service, build, findings))
        else:
            print(as_text(f"svgx-{service} {build}", findings))
        sys.exit(1 if count(findings, Status.FAILED) else 0)

    return run


def _common_checks(service: ServiceName, values: Mapping[str, Any]) -> dict[str, Check | None]:
    """Return the checks of NATS, and of Redis for the services that always use it."""
    checks: dict[str, Check | None] = {"nats": None}
    if "nats_url" in values and "nats_nkey_seed" in values:
        seed = values["nats_nkey_seed"].get_secret_value()
        checks["nats"] = lambda: check_nats(service, values["nats_url"], seed)
    if service in ("collab", "gateway"):
        # The other services start a fifth faster without the client library of Redis.
        from svgx_common.doctor.redis import check_redis  # noqa: PLC0415

        checks["redis"] = None
        if "redis_url" in values:
            checks["redis"] = lambda: check_redis(values["redis_url"])
    return checks


async def run_checks(
    checks: Mapping[str, Check | None], seconds: float = CHECK_SECONDS
) -> list[Finding]:
    """Run all checks at the same time, and return their results in the order of the checks."""
    results = await asyncio.gather(*(_run(name, check, seconds) for name, check in checks.items()))
    return [finding for result in results for finding in result]


async def _run(name: str, check: Check | None, seconds: float) -> list[Finding]:
    if check is None:
        return [warning(name, "not checked", "First correct the setting that is named above.")]
    try:
        async with asyncio.timeout(seconds):
            return await check()
    except TimeoutError:
        fix = "Look at the server's load, log and network: it accepts connections and does not answer."
        return [failed(name, f"did not answer within {seconds:.0f} s", fix)]
    except Exception as error:  # noqa: BLE001  # unknown faults are reported too
        fix = "Look at the server's log, and report this result: the doctor has no advice for this error."
        return [failed(name, f"fails with {type(error).__name__}", fix)]
