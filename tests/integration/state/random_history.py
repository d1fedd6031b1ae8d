"""Random steps on versions, in addition to those of `random_canvases`: a version is made, read or restored."""

import dataclasses
from collections.abc import Mapping

from svgx_canvas import replacement
from svgx_canvas.document.shared_document import SharedDocument
from svgx_common.contract.errors import NotFound
from svgx_common.contract.state import Entry
from svgx_common.contract.storage.versions import Version, VersionKind
from svgx_state.history.expiry import Expiry
from svgx_state.history.past import Past
from svgx_state.history.versions import Bounds, Versions
from svgx_state.journal.retention import Retention
from svgx_yjs.structure import EMPTY_STATE_VECTOR
from tests.integration.state import random_canvases
from tests.integration.state.random_canvases import (
    RETENTION_DAYS,
    STEPS,
    RandomCanvas,
    RandomCanvases,
    Step,
    contents,
)

BOUNDS = Bounds(all_hours=1000, hourly_hours=1000, unnamed=6, named=1000)


@dataclasses.dataclass
class KeptVersion:
    """A version, and the content that it must have."""

    version: Version
    content: random_canvases.Contents


class RandomHistory(RandomCanvases):
    """Canvases with versions. The retention keeps the content of versions with a name."""

    kept: dict[str, list[KeptVersion]]
    """By canvas: the versions that were made. The service may have deleted those without a name."""

    def restart(self) -> None:
        """Replace all parts of the service."""
        super().restart()
        database = self.fresh.database
        self.past = Past(database)
        self.versions = Versions(database, self.past, BOUNDS)
        self.retention = Retention(
            database,
            self.compactor,
            days=RETENTION_DAYS,
            before_drop=[Expiry(database, self.past, self.workers).before_drop],
        )
        if not hasattr(self, "kept"):
            self.kept = {}

    async def check(self, canvas: RandomCanvas, revision: int) -> None:
        """Compare the content at a revision, as it is stored and as `Past` returns it, with the plain replay."""
        await super().check(canvas, revision)
        content = await self.past.content(canvas.id, revision)
        assert contents(content.updates) == canvas.content_of_revisions[revision], (
            canvas.id,
            revision,
        )

    async def check_versions(self, canvas: RandomCanvas) -> None:
        """Compare the content of each version with the replay of its revision."""
        for each in self.kept.get(canvas.id, []):
            try:
                content = await self.versions.content(canvas.id, each.version.id)
            except NotFound:
                assert each.version.name is None, "a version with a name is missing"
                continue
            assert contents(content.updates) == each.content, each.version


def _history_of(world: RandomCanvases) -> RandomHistory:
    assert isinstance(world, RandomHistory)
    return world


async def create_version(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Make a version, with a name or without one. The version has everything that is committed."""
    history, named = _history_of(world), world.random.random() < 0.5
    version = await history.versions.add(
        canvas.id,
        VersionKind.NAMED if named else VersionKind.BEFORE_IMPORT,
        "user",
        "kept" if named else None,
    )
    assert version is not None
    assert version.revision == len(canvas.updates)
    kept = KeptVersion(version, canvas.content_of_revisions[version.revision])
    history.kept.setdefault(canvas.id, []).append(kept)


async def restore_version(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Restore a version as collab does, by an edit of the committed document."""
    history = _history_of(world)
    if not history.kept.get(canvas.id):
        return
    chosen = world.random.choice(history.kept[canvas.id])
    try:
        content = await history.versions.content(canvas.id, chosen.version.id)
    except NotFound:
        return  # the version was deleted as one too many without a name, or with its journal entries
    wanted = SharedDocument.load(content.updates).missing(EMPTY_STATE_VECTOR)
    current = canvas.replay.missing(EMPTY_STATE_VECTOR)
    canvas.sequences["restore"] = sequence = canvas.sequences.get("restore", 0) + 1
    update = replacement(current, wanted)
    (result,) = await history.journal.append([Entry(canvas.id, "restore", sequence, (), update)])
    canvas.updates.append(update)
    canvas.replay.load_update(update)
    canvas.replay.resume()
    canvas.content_of_revisions.append(random_canvases.contents_of(canvas.replay))
    canvas.days.append(world.today)
    assert result.revision == len(canvas.updates)
    assert canvas.content_of_revisions[-1][0] == chosen.content[0], (
        "the elements are not those of the version"
    )


async def read_versions(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Read all versions of a canvas, and compare them with the replay."""
    await _history_of(world).check_versions(canvas)


async def pass_a_day(world: RandomCanvases, canvas: RandomCanvas) -> None:
    """Let a day pass, for the versions too."""
    await random_canvases.pass_a_day(world, canvas)
    await world.fresh.tables.execute(
        "UPDATE version SET at = at - interval '1 day', edited_at = edited_at - interval '1 day'"
    )


HISTORY_STEPS: Mapping[Step, int] = {
    **{step: weight for step, weight in STEPS.items() if step is not random_canvases.pass_a_day},
    pass_a_day: 2,
    create_version: 8,
    restore_version: 6,
    read_versions: 2,
}
"""The kinds of steps of `random_canvases` and of this file, and the weight of each in the random choice."""
