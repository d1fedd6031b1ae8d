"""The parts that make, read and restore versions, built together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from svgx_common.background import BackgroundTasks
from svgx_common.postgres import Database
from svgx_common.runtime import Runtime
from svgx_state.history.automatic import AutomaticVersions
from svgx_state.history.differences import Differences
from svgx_state.history.expiry import Expiry
from svgx_state.history.handlers import HistoryHandlers
from svgx_state.history.past import Past
from svgx_state.history.restores import Restores
from svgx_state.history.thumbnails import Thumbnails
from svgx_state.history.versions import Bounds, Versions
from svgx_state.settings import StateSettings
from svgx_workers.pool import Workers


@dataclass(frozen=True, slots=True)
class History:
    """The parts of the history that other parts of the service use."""

    past: Past
    versions: Versions
    automatic: AutomaticVersions
    before_drop: Callable[[datetime], Awaitable[None]]
    """Keeps the content of named versions and deletes the other versions, before days of the journal are dropped."""

    def start(self, background: BackgroundTasks) -> None:
        """Make automatic versions in the background."""
        background.repeat("automatic versions", self.automatic.make_due)
        background.repeat("forgotten versions", self.automatic.find_forgotten)


def build_history(runtime: Runtime[StateSettings], database: Database, workers: Workers) -> History:
    """Build the history, and answer its operations."""
    settings = runtime.settings
    past = Past(database)
    bounds = Bounds(
        all_hours=settings.version_all_hours,
        hourly_hours=settings.version_hourly_hours,
        unnamed=settings.version_max_unnamed,
        named=settings.version_max_named,
    )
    versions = Versions(database, past, bounds)
    automatic = AutomaticVersions(
        database,
        versions,
        quiet_seconds=settings.version_quiet_seconds,
        busy_seconds=settings.version_busy_seconds,
        retention_days=settings.journal_retention_days,
    )
    HistoryHandlers(
        past,
        versions,
        Restores(runtime.bus, versions, workers),
        Differences(past, versions, workers),
        Thumbnails(database, versions, workers),
    ).register(runtime.responder)
    return History(past, versions, automatic, Expiry(database, past, workers).before_drop)
