"""The health report of a service."""

import asyncio
from collections.abc import Callable

from svgx_common import metrics
from svgx_common.health import Health, HealthReport, Phase


async def succeed() -> None:
    """Pass a check."""


async def fail() -> None:
    """Fail a check."""
    raise ConnectionError


async def report_during(health: Health, change: Callable[[], None]) -> HealthReport:
    """Return a report of a health with one slow check. The change is made while this check runs."""
    begun, changed = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await changed.wait()

    health.require("nats", slow)
    reporting = asyncio.create_task(health.report())
    await begun.wait()
    change()
    changed.set()
    return await reporting


async def test_report_has_only_the_checks_that_existed_when_it_began() -> None:
    """A starting service may add a check while a report runs the existing checks. Proves R-OBS-1."""
    health = Health("state", "replica", "1.0")
    report = await report_during(health, lambda: health.require("postgresql", succeed))
    assert report.status == "starting"
    assert report.dependencies.keys() == {"nats"}


async def test_report_at_the_end_of_the_start_has_all_checks() -> None:
    """The service has added a check while the report ran the others, and is ready now. Proves R-OBS-1."""
    health = Health("state", "replica", "1.0")

    def end_start() -> None:
        health.require("revocations", fail)
        health.phase = Phase.READY

    report = await report_during(health, end_start)
    assert (report.status, report.reason) == ("failing", "not usable: revocations")


def test_every_dependency_has_its_metric_before_the_first_report() -> None:
    """A dependency that the service does not require has a value too. Proves R-OBS-11."""
    health = Health("service without a report", "replica", "1.0")

    health.require("nats", succeed)
    health.watch("redis", succeed)
    (family,) = metrics.DEPENDENCY_UP.collect()
    values = {
        sample.labels["dependency"]: sample.value
        for sample in family.samples
        if "service without a report" in sample.labels.values()
    }
    assert values == {"nats": 0, "redis": 0}
