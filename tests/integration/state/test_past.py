"""Past content: any revision and any time, as far as the journal is kept."""

import json
import random
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from svgx_canvas import import_svg
from svgx_common.contract.errors import Invalid, NotFound
from svgx_common.contract.state import Entry, ExportRequest
from svgx_devstack import DevStack
from svgx_state.history.past import Past
from svgx_state.snapshots import Compactor
from tests.integration.state.drawing import Pen, elements
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.history_steps import create_version, find_moment, past_content
from tests.integration.state.service import Client, Tables, replica
from tests.integration.state.test_compaction import until_snapshot
from tests.png import top_left_color


def text(moment: datetime) -> str:
    """Return a time in the format of requests."""
    return moment.astimezone(UTC).isoformat()


@pytest.mark.parametrize("seed", range(2))
async def test_content_at_each_past_moment_equals_a_plain_replay(
    backing: DevStack, client: Client, tables: Tables, seed: int
) -> None:
    """The content at the time of each commit equals a replay of the entries up to this commit. Proves R-HIST-8.

    Some of the entries are in snapshots.
    """
    rng = random.Random(seed)
    async with replica(backing, compact_after_entries=7):
        canvas_id = await client.create()
        pens = [Pen(canvas_id, f"writer-{number}") for number in range(2)]
        entries: list[Entry] = []
        for _ in range(10):
            group = [
                rng.choice(pens).draw(f"k{rng.randrange(6)}", secrets.token_hex(3))
                for _ in range(rng.randrange(1, 4))
            ]
            entries += group
            await client.append(*group)
        await until_snapshot(tables, canvas_id, 7)
        rows = await tables.fetch(
            "SELECT revision, at FROM journal WHERE canvas_id = $1 ORDER BY revision", canvas_id
        )
        # The last revision of each commit, because all revisions of a commit have one time.
        times = {row["at"]: row["revision"] for row in rows}
        for at, revision in times.items():
            expected = elements(entry.update for entry in entries[:revision])
            assert elements([await past_content(client, canvas_id, at=text(at))]) == expected
            between = text(at - timedelta(microseconds=1))
            moment = await find_moment(client, canvas_id, between)
            assert moment.revision == max((r for r in times.values() if r < revision), default=0)
        assert (await find_moment(client, canvas_id)).revision == len(entries)


@pytest.mark.parametrize("created_later", [False, True])
async def test_bounds_of_the_past_are_accepted_after_the_clock_was_set_back(
    fresh: FreshTables, created_later: bool
) -> None:
    """The known past of a canvas with a time after the clock ends at this time. Proves R-HIST-9."""
    canvas_id = await fresh.create()
    if created_later:
        await fresh.tables.execute("UPDATE canvas SET created_at = now() + interval '59 minutes'")
    else:
        await fresh.journal.append([Pen(canvas_id, "ann").draw("a")])
    await fresh.tables.execute("UPDATE canvas SET updated_at = now() + interval '1 hour'")
    await fresh.journal.append([Pen(canvas_id, "bob").draw("b")])
    past = Past(fresh.database)
    bounds = []
    for year in (2000, 2900):
        with pytest.raises(Invalid) as refused:
            await past.moment(canvas_id, datetime(year, 1, 1, tzinfo=UTC))
        bounds.append(datetime.fromisoformat(str(refused.value.limit)))
    revisions = [(await past.moment(canvas_id, bound)).revision for bound in bounds]
    assert revisions == [0, 1 if created_later else 2]


async def test_time_outside_the_known_past_is_refused(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """The error names the field and both bounds, and a request with one of the bounds succeeds. Proves R-HIST-9."""
    async with replica(backing, compact_after_entries=2):
        canvas_id = await client.create()
        # Without microseconds, a bound would not need rounding.
        await tables.execute(
            "UPDATE canvas SET created_at = date_trunc('second', created_at) - interval '1.000001 s'"
            " WHERE id = $1",
            canvas_id,
        )
        created = (await client.get(canvas_id)).created_at
        pen = Pen(canvas_id, "ann")
        moment = await find_moment(client, canvas_id)
        assert (moment.revision, moment.edited_at, moment.earliest) == (0, created, created)
        assert elements([await past_content(client, canvas_id, at=text(created))]) == {}
        for at, limit in (
            (created - timedelta(microseconds=1), "earliest"),
            (datetime(1970, 1, 1, tzinfo=UTC), "earliest"),
            (datetime.now(UTC) + timedelta(hours=1), "present"),
        ):
            with pytest.raises(Invalid) as refused:
                await past_content(client, canvas_id, at=text(at))
            assert refused.value.field == "at"
            bound = datetime.fromisoformat(str(refused.value.limit))
            assert (abs(bound - created) < timedelta(milliseconds=1)) == (limit == "earliest")
            assert refused.value.detail.count("Z") == 2
            assert await find_moment(client, canvas_id, str(refused.value.limit)) == moment
        await client.append(pen.draw("a"), pen.draw("b"))
        await until_snapshot(tables, canvas_id, 2)
        await client.append(pen.draw("c"))
        # Delete the entries that the snapshot contains, as the service does after their retention.
        await tables.execute(
            "DELETE FROM journal WHERE canvas_id = $1 AND revision <= 2", canvas_id
        )
        moment = await find_moment(client, canvas_id)
        snapshot_at = await tables.fetchval(
            "SELECT through_at FROM snapshot WHERE canvas_id = $1", canvas_id
        )
        assert (moment.revision, moment.earliest) == (3, snapshot_at)
        assert set(elements([await past_content(client, canvas_id, at=text(snapshot_at))])) == {
            "a",
            "b",
        }
        with pytest.raises(Invalid) as refused:
            await find_moment(client, canvas_id, text(snapshot_at - timedelta(microseconds=1)))
        assert "before the known past" in refused.value.detail


async def test_past_without_quarantined_entries_is_known_since_the_creation(
    fresh: FreshTables, compactor: Compactor
) -> None:
    """A canvas with its first entries in the quarantine shows the other entries at their times.

    Without a row in the quarantine, the past is known since the oldest snapshot. Proves R-HIST-9, R-STATE-24.
    """
    canvas_id = await fresh.create()
    pen = Pen(canvas_id, "ann")
    for element in ("a", "b", "c"):
        await fresh.journal.append([pen.draw(element)])
    await compactor.compact(canvas_id)
    times = await fresh.tables.fetch("SELECT at FROM journal ORDER BY revision")
    assert await fresh.database.row("quarantine_entry", canvas_id, 1, "test", None) is not None
    past = Past(fresh.database)
    assert (await past.moment(canvas_id, times[1]["at"])).revision == 2
    assert (await past.moment(canvas_id, times[0]["at"])).revision == 0
    await fresh.tables.execute("DELETE FROM quarantine")
    assert (await past.moment(canvas_id)).earliest == times[2]["at"]
    with pytest.raises(Invalid):
        await past.moment(canvas_id, times[1]["at"])


@pytest.mark.parametrize(
    "query", [{"at": "2020-01-01"}, {"at": "1"}, {"at": ""}, {"version": "a b"}]
)
def test_malformed_time_or_version_is_refused(query: dict[str, str]) -> None:
    """An `at` that is no time with a zone, or a `version` with unsafe characters, is refused. Proves R-HTTP-16."""

    with pytest.raises(ValueError, match=next(iter(query))):
        ExportRequest.model_validate({"canvas_id": "c", **query})


async def test_each_format_exports_the_past(backing: DevStack, client: Client) -> None:
    """SVG, PNG, JSON and Yjs have the content of the same past moment. Proves R-HIST-8."""
    async with replica(backing):
        canvas_id = await client.create("Plan")
        red, blue = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">'
            f'<rect width="20" height="10" fill="{color}"/></svg>'.encode()
            for color in ("red", "blue")
        )
        old = import_svg(red, None).update
        await client.append(Entry(canvas_id, "holder", 1, (), old))
        version = await create_version(client, canvas_id)
        await client.append(Entry(canvas_id, "holder", 2, (), import_svg(blue, old).update))
        at = text(version.at)
        for query in ({"at": at}, {"version": version.id}):
            for kind in ("svg", "yjs"):
                exported = (await client.export(canvas_id, format=kind, **query)).content
                assert (b"red" in exported, b"blue" in exported) == (True, False)
            items = json.loads((await client.export(canvas_id, format="json", **query)).content)
            assert [each["attrs"]["fill"] for each in items["elements"]] == ["red"]
            png = await client.export(canvas_id, format="png", **query)
            assert top_left_color(png.content) == "#ff0000"
        assert b"blue" in (await client.export(canvas_id)).content
        present = await client.export(canvas_id, format="png")
        assert top_left_color(present.content) == "#0000ff"
        with pytest.raises(Invalid) as refused:
            await client.export(canvas_id, at=at, version=version.id)
        assert refused.value.field == "at"
        for missing in ("unknown", canvas_id):
            with pytest.raises(NotFound):
                await client.export(canvas_id, version=missing)


async def test_past_of_an_unknown_or_deleted_canvas_is_not_found(
    backing: DevStack, client: Client
) -> None:
    """A deleted canvas shows nothing of its past. Proves R-HIST-9."""
    async with replica(backing):
        canvas_id = await client.create()
        await client.delete(canvas_id)
        for unknown in (canvas_id, "unknown"):
            with pytest.raises(NotFound):
                await find_moment(client, unknown)
