"""`/health/summary/`: the health of every replica of every service."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from svgx_common.contract.errors import SvgxError, Unavailable
from svgx_common.contract.operation import SERVICES
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.transport import replica_subject
from svgx_common.health import HealthReport
from svgx_common.messaging.bus import Bus
from svgx_gateway.http import problems
from svgx_gateway.http.guard import Guard
from svgx_gateway.observability.notes import note_failure

DISCOVERY_SECONDS = 0.5
"""Seconds that replicas have to answer the ping."""

REPORT_TIMEOUT = 3.0
"""Seconds that a replica has to report its health."""


class HealthSummary:
    """The summary page. It finds the replicas by `$SRV.PING` (NATS micro protocol), and asks each for its health."""

    def __init__(self, bus: Bus, guard: Guard) -> None:
        self._bus = bus
        self._guard = guard

    def routes(self, middleware: Sequence[Middleware]) -> list[Route]:
        """Return the route of the page."""
        return [Route("/health/summary/", self.page, middleware=middleware)]

    async def page(self, request: Request) -> Response:
        """Return the summary to a caller with any role."""
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
        """Return the summary. `status` is `ok` when every service has a replica and every replica is `ok`."""
        replicas = await self._replicas()
        reports = await asyncio.gather(*(self._report(*replica) for replica in replicas))
        services: dict[str, list[dict[str, Any]]] = {service: [] for service in SERVICES}
        for report in reports:
            services.setdefault(report.service, []).append(report.model_dump(mode="json"))
        missing = [service for service, found in services.items() if not found]
        healthy = not missing and all(report.status == "ok" for report in reports)
        return {
            "status": "ok" if healthy else "degraded",
            "missing": missing,
            "services": services,
        }

    async def _replicas(self) -> list[tuple[str, str]]:
        """Return service and replica id of each replica that answers the ping."""
        connection = self._bus.connection
        inbox = connection.new_inbox()
        found: list[tuple[str, str]] = []

        async def collect(message: Msg) -> None:
            ping = json.loads(message.data)
            found.append((str(ping["name"]).removeprefix("svgx-"), str(ping["id"])))

        try:
            subscription = await connection.subscribe(inbox, cb=collect)
            await connection.publish("$SRV.PING", reply=inbox)
            await asyncio.sleep(DISCOVERY_SECONDS)
            await subscription.unsubscribe()
        except NatsError as error:
            raise Unavailable("the message bus is not reachable") from error
        return sorted(found)

    async def _report(self, service: str, replica_id: str) -> HealthReport:
        try:
            answer = await self._bus.request(
                replica_subject(service, replica_id), b"", timeout=REPORT_TIMEOUT
            )
            return HealthReport.model_validate_json(answer.content)
        except SvgxError:
            reason = "did not answer"
        except ValidationError:
            reason = "sent a report that cannot be read"
        return HealthReport(
            status="failing",
            service=service,
            replica=replica_id,
            version="",
            uptime_seconds=0,
            reason=reason,
        )
