"""Members of a canvas, canvases of a user, and the largest canvases."""

import secrets
from collections.abc import AsyncIterator

import pytest

from svgx_common.contract import state
from svgx_common.contract.administration.canvases import (
    LARGEST_CANVASES,
    LIST_MEMBERS,
    USER_CANVASES,
    CanvasSize,
    LargestCanvasesRequest,
    ListMembersRequest,
    MemberPage,
    SizeOrder,
    UserCanvasesRequest,
    UserCanvasPage,
)
from svgx_common.contract.auth import FoundAccount
from svgx_common.contract.errors import Invalid, NotFound
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Entry
from svgx_devstack import DevStack
from tests.integration.pages import all_pages
from tests.integration.state.service import Client, Tables, replica, user

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(scope="module")
async def service(backing: DevStack) -> AsyncIterator[None]:
    """A replica that compacts no canvas, because a compaction would change the sizes that a test expects."""
    async with replica(backing, compact_after_bytes=2**30):
        yield


async def members(client: Client, canvas_id: str, **query: int | str | None) -> MemberPage:
    request = ListMembersRequest.model_validate({"canvas_id": canvas_id, **query})
    return await client.bus.ask(LIST_MEMBERS, request, caller=client.me)


async def canvases(client: Client, user_id: str, **query: int | str | None) -> UserCanvasPage:
    request = UserCanvasesRequest.model_validate({"user_id": user_id, **query})
    return await client.bus.ask(USER_CANVASES, request, caller=user(Role.ADMIN))


async def sizes(client: Client, by: SizeOrder, limit: int = 200) -> list[CanvasSize]:
    request = LargestCanvasesRequest(by=by, limit=limit)
    return (await client.bus.ask(LARGEST_CANVASES, request, caller=user(Role.ADMIN))).items


async def test_members_are_listed_once_in_pages_with_their_roles(client: Client) -> None:
    """Proves R-STATE-20: small pages together have exactly the members of the canvas."""
    canvas_id, other = await client.create(), await client.create()
    expected = {client.me.user_id: CanvasRole.OWNER}
    for role in (CanvasRole.EDITOR, CanvasRole.VIEWER, CanvasRole.OWNER, CanvasRole.VIEWER):
        member = user().user_id
        await client.set_member(canvas_id, member, role)
        expected[member] = role
    await client.set_member(other, user().user_id, CanvasRole.VIEWER)
    pages = all_pages(lambda cursor: members(client, canvas_id, limit=2, cursor=cursor))
    found = [(each.user_id, each.role) async for page in pages for each in page.items]
    assert found == sorted(expected.items())


async def test_members_of_an_unknown_or_deleted_canvas_are_not_found(client: Client) -> None:
    """Proves R-STATE-12: a request for the members gets `NotFound`, as a request for the canvas does."""
    canvas_id = await client.create()
    await client.delete(canvas_id)
    for unknown in (canvas_id, "unknown"):
        with pytest.raises(NotFound):
            await members(client, unknown)


async def test_cursor_of_another_list_is_refused(client: Client) -> None:
    """Proves R-STATE-15: a cursor for members is valid for one canvas, and a cursor for canvases for one user."""
    one, two = await client.create(), await client.create()
    for canvas_id in (one, two):
        await client.set_member(canvas_id, user().user_id, CanvasRole.VIEWER)
    cursor = (await members(client, one, limit=1)).next
    canvas_cursor = (await canvases(client, client.me.user_id, limit=1)).next
    for wrong in (cursor, canvas_cursor, "x"):
        with pytest.raises(Invalid) as error:
            await members(client, two, cursor=wrong)
        assert error.value.field == "cursor"
    with pytest.raises(Invalid):
        await canvases(client, user().user_id, cursor=canvas_cursor)
    with pytest.raises(Invalid):
        await canvases(client, client.me.user_id, cursor=canvas_cursor, only_owner="true")


async def test_canvases_of_a_user_have_the_role_and_mark_the_only_owner(client: Client) -> None:
    """Proves R-STATE-20: the list has each canvas of the user once, newest first, and no deleted canvas."""
    someone = user()
    alone = await client.create("alone", someone)
    shared = await client.create("shared", someone)
    await client.set_member(shared, user().user_id, CanvasRole.OWNER)
    with_viewer = await client.create("with a viewer", someone)
    await client.set_member(with_viewer, user().user_id, CanvasRole.VIEWER)
    guest = await client.create("guest")
    await client.set_member(guest, someone.user_id, CanvasRole.EDITOR)
    await client.delete(await client.create("deleted", someone))
    await client.create("foreign")
    found = (await canvases(client, someone.user_id)).items
    assert [(each.id, each.role.value, each.only_owner) for each in found] == [
        (guest, "editor", False),
        (with_viewer, "owner", True),
        (shared, "owner", False),
        (alone, "owner", True),
    ]
    pages = all_pages(
        lambda cursor: canvases(client, someone.user_id, only_owner="true", limit=1, cursor=cursor)
    )
    assert [each.id async for page in pages for each in page.items] == [with_viewer, alone]
    assert (await canvases(client, "unknown")).items == []


@pytest.mark.parametrize(
    "gone",
    [
        FoundAccount(id="", role=Role.EDITOR, disabled=True),
        FoundAccount(id="", role=Role.VIEWER, disabled=False),
        None,
    ],
    ids=["disabled", "demoted", "deleted"],
)
async def test_admin_appoints_an_owner_for_a_canvas_without_an_owner_that_can_act(
    client: Client, gone: FoundAccount | None
) -> None:
    """Proves R-STATE-13: the account of the last owner can be disabled, demoted or deleted.

    An admin then finds its canvases and appoints an owner.
    """
    someone, admin, heir = user(), user(Role.ADMIN), user()
    canvas_id = await client.create("left behind", someone)
    client.accounts[someone.user_id] = gone and gone.model_copy(update={"id": someone.user_id})
    (found,) = (await canvases(client, someone.user_id, only_owner="true")).items
    assert found.id == canvas_id
    assert await client.access(canvas_id, admin) is CanvasRole.OWNER
    request = state.SetMemberRequest(
        canvas_id=canvas_id, user_id=heir.user_id, role=CanvasRole.OWNER
    )
    await client.bus.ask(state.SET_MEMBER, request, caller=admin)
    assert (await canvases(client, someone.user_id, only_owner="true")).items == []
    assert await client.access(canvas_id, heir) is CanvasRole.OWNER


async def test_largest_canvases_are_ordered_by_content_or_journal(
    client: Client, tables: Tables
) -> None:
    """Proves R-STATE-20: content is the newest snapshot with the entries after it; a deleted canvas counts."""
    content, journal, deleted = [await client.create(f"large {number}") for number in range(3)]

    def entry(canvas_id: str, size: int) -> Entry:
        return Entry(canvas_id, secrets.token_hex(4), 1, ("user",), bytes(size))

    # The replica compacts no canvas, so the test inserts a snapshot below.
    await client.append(
        entry(content, 7_000_000), entry(journal, 9_000_000), entry(deleted, 5_000_000)
    )
    await tables.execute(
        "INSERT INTO snapshot (canvas_id, through_revision, through_at, update) VALUES ($1, 1, now(), $2)",
        journal,
        bytes(1_000_000),
    )
    await tables.execute(
        "UPDATE canvas SET snapshot_revision = 1, snapshot_bytes = bytes WHERE id = $1", journal
    )
    await client.append(entry(journal, 2_000_000))
    await client.delete(deleted)
    # The list also has canvases of other tests.
    made = {content, journal, deleted}
    by_journal = await sizes(client, SizeOrder.JOURNAL)
    found = [each.journal_bytes for each in by_journal]
    assert found == sorted(found, reverse=True)
    assert [
        (each.id, each.journal_bytes, each.deleted) for each in by_journal if each.id in made
    ] == [
        (journal, 11_000_000, False),
        (content, 7_000_000, False),
        (deleted, 5_000_000, True),
    ]
    by_content = await sizes(client, SizeOrder.CONTENT)
    found = [each.content_bytes for each in by_content]
    assert found == sorted(found, reverse=True)
    assert [(each.id, each.content_bytes) for each in by_content if each.id in made] == [
        (content, 7_000_000),
        (deleted, 5_000_000),
        (journal, 3_000_000),
    ]
    assert await sizes(client, SizeOrder.CONTENT, limit=2) == by_content[:2]
    # Set the sizes to 0, because other tests share the database.
    for canvas_id in (content, journal, deleted):
        await tables.execute(
            "UPDATE canvas SET bytes = 0, snapshot_bytes = 0 WHERE id = $1", canvas_id
        )
