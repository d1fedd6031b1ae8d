"""Automatic versions: an edited canvas gets a version when its editors pause, or after a long time of edits."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.contract.storage.versions import VersionKind
from svgx_common.postgres import Database
from svgx_state.history.versions import Versions

log = structlog.get_logger(__name__)

STEP_SECONDS = 2.0
"""Longest time between two checks of the edited canvases, in seconds."""

FORGOTTEN_PERIOD_SECONDS = 3600.0
"""Seconds between two searches for edited canvases that no replica remembers, because a replica ended."""

FORGOTTEN_AGE_SECONDS = 7 * 86400.0
"""Largest age, in seconds, of the last edit of a canvas that the search finds, if the journal is kept as long."""

FORGOTTEN_LIMIT = 1000
"""Largest number of canvases that one search finds. The next search finds others."""


@dataclass(slots=True)
class _EditTimes:
    """The times of a canvas's first and last edit after its last version, in seconds of the monotonic clock."""

    first: float
    last: float


class AutomaticVersions:
    """The automatic versions of one replica.

    `note` is called after each commit of this replica. Other replicas may commit edits of the same canvas, so each
    replica reads from the tables whether a version is due, and only one of the replicas makes the version. A canvas
    gets a version at the earlier of two times: `quiet_seconds` after its last edit, and `busy_seconds` after the first
    edit that is in no version. `retention_days` is the retention of the journal; 0 means without end.
    """

    def __init__(
        self,
        database: Database,
        versions: Versions,
        *,
        quiet_seconds: float,
        busy_seconds: float,
        retention_days: int = 0,
    ) -> None:
        self._database = database
        self._versions = versions
        self._quiet_seconds = quiet_seconds
        self._busy_seconds = busy_seconds
        # Versions end with the journal of their time. An ended version must not be made again.
        retention_seconds = retention_days * 86400.0
        self._forgotten_age = min(FORGOTTEN_AGE_SECONDS, retention_seconds or FORGOTTEN_AGE_SECONDS)
        self._edited: dict[str, _EditTimes] = {}

    def note(self, canvas_id: str) -> None:
        """Note that a canvas was edited."""
        now = time.monotonic()
        edited = self._edited.setdefault(canvas_id, _EditTimes(now, now))
        edited.last = now

    async def make_due(self) -> None:
        """Wait, then make the versions that are due. This is a step to repeat in the background."""
        await asyncio.sleep(min(STEP_SECONDS, self._quiet_seconds / 2, self._busy_seconds / 2))
        now = time.monotonic()
        for canvas_id, edited in list(self._edited.items()):
            if now - edited.last >= self._quiet_seconds or now - edited.first >= self._busy_seconds:
                await self.make(canvas_id)

    async def make(self, canvas_id: str) -> None:
        """Make a version of a canvas if one is due. Forget the canvas unless a version is due later."""
        edited = self._edited.pop(canvas_id, None)
        try:
            due_in = await self._due_in(canvas_id)
            if due_in is not None and due_in <= 0:
                await self._versions.add(canvas_id, VersionKind.AUTOMATIC)
                return
        except BaseException:
            if edited is not None:  # the next step tries again
                self._edited.setdefault(canvas_id, edited)
            raise
        if due_in is not None:
            # Another replica has committed later edits.
            last = time.monotonic() + due_in - self._quiet_seconds
            self._edited.setdefault(canvas_id, _EditTimes(last, last))

    async def find_forgotten(self) -> None:
        """Note the canvases with edits that are in no version, and wait. This is a step to repeat in the background.

        Wait also after a failure, because a search that exceeds its time limit is costly.
        """
        try:
            rows = await self._database.rows(
                "unversioned_canvases", self._forgotten_age, FORGOTTEN_LIMIT
            )
        except Unavailable:
            log.warning("could not search for canvases without a version; trying again later")
            rows = []
        for row in rows:
            self.note(row["id"])
        await asyncio.sleep(FORGOTTEN_PERIOD_SECONDS)

    async def _due_in(self, canvas_id: str) -> float | None:
        """Return the seconds until a version is due, or None if no edit needs one."""
        row = await self._database.row("version_due", canvas_id)
        if row is None or not row["changed"]:
            return None
        quiet = self._quiet_seconds - row["quiet_seconds"]
        busy = self._busy_seconds - (row["busy_seconds"] or 0.0)
        return float(min(quiet, busy))
