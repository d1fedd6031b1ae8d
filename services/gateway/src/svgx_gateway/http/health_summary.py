"""`/health/summary/`: the health of every replica of every service."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from svgx_common.contract.errors import SvgxError
from svgx_common.contract.operation import SERVICES
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.transport import replica_subject
from svgx_common.health import Health, HealthReport
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_gateway.http import problems
from svgx_gateway.http.guard import Guard
from svgx_gateway.observability.notes import note_failure
from svgx_gateway.replica_watch import Replica, ReplicaWatch

REPORT_TIMEOUT = 3.0
"""Time limit for a replica to report its health, in seconds."""

SILENT_TIMEOUT = 0.5
"""Time limit, in seconds, for the report of a replica that did not answer the last ping."""


class HealthSummary:
    """The summary page, with the health that each replica reports. Silent replicas are asked too (`ReplicaWatch`)."""

    def __init__(self, bus: Bus, guard: Guard, health: Health, watch: ReplicaWatch) -> None:
        self._bus = bus
        self._guard = guard
        self._health = health
        self._watch = watch

    def routes(self, middleware: Sequence[Middleware]) -> list[Route]:
        """Return the route of the page."""
        return [Route("/health/summary/", self.page, middleware=middleware)]

    async def page(self, request: Request) -> Response:
        """Return the summary to a signed-in caller with any role."""
        headers: dict[str, str] = {}
        try:
            await self._guard.admit_to(Scope.SIGNED_IN, RateClass.READ, request, headers)
            response = JSONResponse(await self.collect())
        except SvgxError as error:
            note_failure(request.scope, "health.summary", error.code)
            response = problems.response(error)
        response.headers.update(headers)
        return response

    async def collect(self) -> dict[str, Any]:
        """Return the summary.

        `missing` names the services without a replica that reports its health; a reserved replica of collab does not
        count. `status` is `ok` when no service is missing, every replica is `ok`, and every dependency answers.
        `silent` names the replicas that answered before and do not answer now. While NATS is not reachable, there is
        only this gateway's own report.
        """
        if self._bus.reachable:
            await self._watch.ping_all()
            replicas = self._watch.replicas
            answers = await asyncio.gather(*(self._ask(replica) for replica in replicas))
        else:
            replicas, answers = [], [(await self._health.report(), True)]
        reports = [report for report, _ in answers]
        services: dict[str, list[dict[str, Any]]] = {service: [] for service in SERVICES}
        for report in reports:
            services.setdefault(report.service, []).append(report.model_dump(mode="json"))
        present = {
            report.service for report, answered in answers if answered and not report.is_reserved
        }
        missing = [service for service in services if service not in present]
        healthy = not missing and all(
            report.status == "ok" and all(each.ok for each in report.dependencies.values())
            for report in reports
        )
        return {
            "status": "ok" if healthy else "degraded",
            "missing": missing,
            "silent": [f"{each.service}/{each.id}" for each in replicas if each.silent],
            "services": services,
        }

    async def _ask(self, replica: Replica) -> tuple[HealthReport, bool]:
        """Return the replica's report and True, or a report of its silence and False."""
        timeout = SILENT_TIMEOUT if replica.silent else REPORT_TIMEOUT
        try:
            answer = await self._bus.request(
                replica_subject(replica.service, replica.id), b"", timeout=timeout
            )
            return HealthReport.model_validate_json(answer.content), True
        except NoResponders:
            reason = "the replica's connection to NATS has ended"
        except SvgxError:
            reason = "the replica did not answer"
        except ValidationError:
            reason = "the replica sent a report that cannot be read"
        if replica.silent:
            reason += f"; its last answer was {replica.silent_seconds:.0f} s ago"
        silence = HealthReport(
            status="failing",
            service=replica.service,
            replica=replica.id,
            version="",
            uptime_seconds=0,
            reason=reason,
        )
        return silence, False
