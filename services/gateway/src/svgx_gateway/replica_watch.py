"""The replicas of all services: those that answer, and those that answered before and do not answer any more.

NATS forgets a replica as soon as the replica's connection ends. The connection of a frozen replica stays open for some
time, and NATS still gives it requests. Therefore the gateway pings all replicas every few seconds (`$SRV.PING` of the
NATS micro protocol), and remembers the replicas that have answered.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Gauge
from pydantic import BaseModel, ConfigDict, ValidationError

from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.operation import SERVICES, Identifier
from svgx_common.contract.transport import REPLICA_LEFT, ReplicaLeft, replica_subject
from svgx_common.messaging.bus import Bus, NoResponders

log = structlog.get_logger(__name__)

PERIOD_SECONDS = 5.0
"""Seconds from the end of one check of the replicas until the next ping. A check takes at least `ANSWER_SECONDS`."""

ANSWER_SECONDS = 0.5
"""Time limit for replicas to answer a ping, in seconds."""

FORGET_SECONDS = 600.0
"""Seconds from the last answer of a replica until it is forgotten."""

MAX_DEPARTED = 100
"""Largest number of departed replicas that are remembered."""

SILENT = Gauge(
    "svgx_engine_silent_replicas",
    "Replicas that answered before and do not answer this gateway's pings any more.",
    ["component"],
)


class _PingAnswer(BaseModel):
    """An answer to a ping.

    The id becomes a part of subjects to which the gateway publishes. If an id could have a dot, a compromised service
    could make the gateway publish an order to drain a replica.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    id: Identifier


@dataclass(slots=True)
class Replica:
    """A replica that has answered a ping. Its times are seconds of the monotonic clock."""

    service: str
    id: str
    first_answer: float
    last_answer: float
    silent: bool = False
    """True when the replica did not answer the last ping."""
    replaces_another: bool = False
    """True when a silent replica was forgotten because this replica has started in its place."""

    @property
    def silent_seconds(self) -> float:
        """The seconds since the last answer."""
        return round(time.monotonic() - self.last_answer, 1)


class ReplicaWatch:
    """The replicas that one gateway has seen."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._inbox = bus.connection.new_inbox()
        self._replicas: dict[tuple[str, str], Replica] = {}
        self._departed: deque[tuple[str, str]] = deque(maxlen=MAX_DEPARTED)
        """The last replicas that have left. Until their processes end, their answers are ignored."""
        self._background = BackgroundTasks()
        for service in SERVICES:
            SILENT.labels(service).set(0)

    @property
    def replicas(self) -> list[Replica]:
        """All known replicas, including those that do not answer any more, sorted by service and id."""
        return sorted(self._replicas.values(), key=lambda replica: (replica.service, replica.id))

    async def start(self) -> None:
        """Start to ping the replicas."""
        await self._bus.connection.subscribe(self._inbox, cb=self._note_answer)
        await self._bus.listen(REPLICA_LEFT.subject, self._note_left)
        self._background.repeat("ping all replicas", self._ping_and_wait)

    async def stop(self) -> None:
        """Stop pinging."""
        await self._background.stop()

    async def ping_all(self) -> None:
        """Ping all replicas, and record which ones answer. While NATS is not reachable, change nothing."""
        started = time.monotonic()
        await self._bus.publish("$SRV.PING", b"", reply=self._inbox)
        await asyncio.sleep(ANSWER_SECONDS)
        if not self._bus.reachable:
            return
        try:
            await self._bus.settle()  # read the answers that wait, in case this process was busy
        except SvgxError:
            return
        for replica in list(self._replicas.values()):
            self._update_silence(replica, answered=replica.last_answer >= started)
        await asyncio.gather(
            *(self._forget_if_replaced(each) for each in self.replicas if each.silent)
        )
        for service in SERVICES:
            SILENT.labels(service).set(
                sum(each.silent for each in self.replicas if each.service == service)
            )

    async def _ping_and_wait(self) -> None:
        with contextlib.suppress(SvgxError, NatsError):
            await self.ping_all()
        await asyncio.sleep(PERIOD_SECONDS)

    async def _note_answer(self, message: Msg) -> None:
        try:
            ping = _PingAnswer.model_validate_json(message.data)
        except ValidationError:
            return
        service = ping.name.removeprefix("svgx-")
        if service not in SERVICES or (service, ping.id) in self._departed:
            return
        now = time.monotonic()
        replica = self._replicas.setdefault((service, ping.id), Replica(service, ping.id, now, now))
        replica.last_answer = now

    async def _note_left(self, _: str, content: bytes) -> None:
        departed = ReplicaLeft.model_validate_json(content)
        self._departed.append((departed.service, departed.replica))
        self._replicas.pop((departed.service, departed.replica), None)

    def _update_silence(self, replica: Replica, *, answered: bool) -> None:
        if answered == replica.silent:
            replica.silent = not answered
            log_change = log.info if answered else log.warning
            log_change(
                "a replica answers again" if answered else "a replica does not answer",
                replica_service=replica.service,
                replica=replica.id,
            )
        if replica.silent_seconds > FORGET_SECONDS:
            self._replicas.pop((replica.service, replica.id), None)

    async def _forget_if_replaced(self, silent: Replica) -> None:
        """Forget a silent replica if its connection to NATS has ended and a newer replica of its service replaces it.

        A newer replica first answered after the silent replica's last answer. It replaces at most one silent replica.
        """
        subject = replica_subject(silent.service, silent.id)
        try:
            await self._bus.request(subject, b"", timeout=ANSWER_SECONDS)
        except NoResponders:
            for other in self.replicas:
                is_successor = (
                    other.service == silent.service
                    and other.first_answer > silent.last_answer
                    and not (other.silent or other.replaces_another)
                )
                if is_successor:
                    other.replaces_another = True
                    self._replicas.pop((silent.service, silent.id), None)
                    return
        except SvgxError:
            # The silent replica may be frozen with an open connection, or NATS is not reachable.
            return
