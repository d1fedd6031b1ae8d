"""Answers to the discovery requests of the NATS micro protocol: `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`.

The protocol is ADR-32 of github.com/nats-io/nats-architecture-and-design.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.service import EndpointInfo, EndpointStats, ServiceInfo, ServicePing, ServiceStats

Respond = Callable[[str, bytes], Awaitable[None]]
"""Sends an answer to a reply subject: `Bus.respond`."""


@dataclass(slots=True)
class EndpointCounts:
    """The counters of one subject. `busy_ns` is the sum of the handling times in nanoseconds."""

    name: str
    subject: str
    requests: int = 0
    errors: int = 0
    busy_ns: int = 0
    last_error: str = ""

    def count(self, elapsed_ns: int, error: str | None) -> None:
        """Count one answered request. `error` is the error's code, or None for a success."""
        self.requests += 1
        self.busy_ns += elapsed_ns
        if error is not None:
            self.errors += 1
            self.last_error = error


class Discovery:
    """The discovery answers of one replica. `name` is the service's name and its queue group."""

    def __init__(self, name: str, replica_id: str, version: str) -> None:
        self._name = name
        self._replica_id = replica_id
        self._version = version
        self._started = datetime.now(UTC)
        self._endpoints: list[EndpointCounts] = []

    def add(self, name: str, subject: str) -> EndpointCounts:
        """Add an endpoint and return its counters, which the caller updates."""
        counts = EndpointCounts(name, subject)
        self._endpoints.append(counts)
        return counts

    async def subscribe(self, connection: Client, respond: Respond) -> None:
        """Answer discovery requests to all services, to services of this name, and to this replica."""
        for verb, reply in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for suffix in ("", f".{self._name}", f".{self._name}.{self._replica_id}"):
                await connection.subscribe(f"$SRV.{verb}{suffix}", cb=_answer_with(reply, respond))

    def _identity(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "id": self._replica_id,
            "version": self._version,
            "metadata": {},
        }

    def _ping(self) -> dict[str, Any]:
        return ServicePing(**self._identity()).to_dict()

    def _info(self) -> dict[str, Any]:
        endpoints = [
            EndpointInfo(
                name=endpoint.name,
                subject=endpoint.subject,
                queue_group=self._name,
                metadata={},
            )
            for endpoint in self._endpoints
        ]
        return ServiceInfo(
            **self._identity(), description=self._name, endpoints=endpoints
        ).to_dict()

    def _stats(self) -> dict[str, Any]:
        endpoints = [
            EndpointStats(
                name=endpoint.name,
                subject=endpoint.subject,
                queue_group=self._name,
                num_requests=endpoint.requests,
                num_errors=endpoint.errors,
                last_error=endpoint.last_error,
                processing_time=endpoint.busy_ns,
                average_processing_time=endpoint.busy_ns // max(1, endpoint.requests),
            )
            for endpoint in self._endpoints
        ]
        return ServiceStats(
            **self._identity(), started=self._started, endpoints=endpoints
        ).to_dict()


def _answer_with(
    reply: Callable[[], dict[str, Any]], respond: Respond
) -> Callable[[Msg], Awaitable[None]]:
    async def answer(message: Msg) -> None:
        await respond(message.reply, json.dumps(reply()).encode())

    return answer
