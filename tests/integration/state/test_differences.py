"""Differences between versions, and pictures of versions, over the bus."""

import struct

import pytest

from svgx_canvas import import_svg
from svgx_common.contract.errors import Invalid, NotFound, TooLarge
from svgx_common.contract.state import Entry
from svgx_common.contract.storage.events import VersionRestored
from svgx_common.contract.storage.versions import VersionKind
from svgx_devstack import DevStack
from tests.integration.state.drawing import Pen
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.history_steps import compare, create_version, thumbnail
from tests.integration.state.service import Client, Tables

pytestmark = pytest.mark.usefixtures("service")


async def test_difference_is_reversed_when_the_versions_are_exchanged(client: Client) -> None:
    """An element that is added in one direction is removed in the other. Proves R-HIST-14.

    Without `to`, a version is compared with the present content.
    """
    canvas_id = await client.create()
    empty = await create_version(client, canvas_id)
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9"><rect width="5"/><circle r="2"/></svg>'
    )
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg, None).update))
    drawn = await create_version(client, canvas_id)
    forth = await compare(client, canvas_id, empty.id, to=drawn.id)
    back = await compare(client, canvas_id, drawn.id, to=empty.id)
    assert (forth.added, forth.removed, forth.changed, forth.moved) == (2, 0, 0, 0)
    assert (back.added, back.removed) == (0, 2)
    assert [item.id for item in forth.items] == [item.id for item in back.items]
    assert forth.canvas["width"].after == back.canvas["width"].before == "9"
    assert (forth.from_revision, forth.to_revision) == (0, 1)
    assert await compare(client, canvas_id, empty.id) == forth
    same = await compare(client, canvas_id, drawn.id)
    assert (same.added, same.items, same.canvas) == (0, [], {})
    for unknown in ("unknown", canvas_id):
        with pytest.raises(NotFound):
            await compare(client, canvas_id, drawn.id, to=unknown)


async def test_pages_of_a_difference_compare_with_the_same_revision(client: Client) -> None:
    """After an edit between two pages, the pages still have each element once. Proves R-HIST-14."""
    canvas_id = await client.create()
    empty = await create_version(client, canvas_id)
    rects = "".join(f'<rect width="{width}"/>' for width in range(1, 8))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg">{rects}</svg>'.encode()
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg, None).update))
    page = await compare(client, canvas_id, empty.id, limit=3)
    found = [item.id for item in page.items]
    await client.append(Pen(canvas_id, "ann").draw("later"))
    while page.next is not None:
        page = await compare(client, canvas_id, empty.id, limit=3, cursor=page.next)
        found += [item.id for item in page.items]
        assert (page.added, page.to_revision) == (7, 1)
    assert len(found) == len(set(found)) == 7
    assert found == sorted(found)
    with pytest.raises(Invalid) as refused:
        await compare(client, canvas_id, empty.id, limit=3, cursor="bm90IGEgY3Vyc29y")
    assert refused.value.field == "cursor"


async def test_picture_has_a_bounded_size_and_is_stored(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """A picture has at most 320 pixels on each side. It is stored in the version's row. Proves R-HIST-15."""
    canvas_id = await client.create()
    empty = await create_version(client, canvas_id)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="40"><rect width="5"/></svg>'
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg, None).update))
    tall = await create_version(client, canvas_id)
    picture = await thumbnail(client, canvas_id, tall.id)
    assert picture.media_type == "image/png"
    assert struct.unpack(">II", picture.content[16:24]) == (80, 320)
    stored = await tables.fetchval("SELECT thumbnail FROM version WHERE id = $1", tall.id)
    assert stored == picture.content
    width, height = struct.unpack(
        ">II", (await thumbnail(client, canvas_id, empty.id)).content[16:24]
    )
    assert max(width, height) <= 320
    await tables.execute("UPDATE version SET thumbnail = 'stored' WHERE id = $1", tall.id)
    assert (await thumbnail(client, canvas_id, tall.id)).content == b"stored"


async def test_picture_of_a_version_that_is_moved_is_drawn_again(fresh: FreshTables) -> None:
    """A restore moves the version before it to a later revision, which removes the picture of the earlier revision.

    A picture of the earlier revision that is ready after the move is not stored. Proves R-HIST-15.
    """
    table = fresh.versions()
    canvas_id = await fresh.create()
    before = await table.add(canvas_id, VersionKind.BEFORE_RESTORE, "ann")
    assert before is not None
    shown = "SELECT thumbnail FROM version"
    await fresh.database.run("set_thumbnail", before.id, b"revision 0", 0)
    assert await fresh.tables.fetchval(shown) == b"revision 0"
    restored = VersionRestored(canvas_id=canvas_id, version_id=before.id, revision=2)
    moved = await table.note_restored(before, restored, "ann")
    assert (moved.revision, await fresh.tables.fetchval(shown)) == (1, None)
    for revision, stored in ((0, None), (1, b"revision 1")):
        picture = b"revision %d" % revision
        await fresh.database.run("set_thumbnail", before.id, picture, revision)
        assert await fresh.tables.fetchval(shown) == stored


async def test_picture_of_content_that_cannot_be_drawn_is_refused(client: Client) -> None:
    """The error names the limit that the drawing exceeds. Proves R-HIST-15."""
    canvas_id = await client.create()
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><pattern id="p" width="1" '
        b'height="1" patternUnits="userSpaceOnUse" patternTransform="scale(100000)"/></svg>'
    )
    await client.append(Entry(canvas_id, "holder", 1, (), import_svg(svg, None).update))
    version = await create_version(client, canvas_id)
    with pytest.raises(TooLarge) as refused:
        await thumbnail(client, canvas_id, version.id)
    assert refused.value.field == "pattern_pixels"
