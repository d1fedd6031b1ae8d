"""Canvases, their members and the access to them, over the bus."""

import asyncio
import itertools
import json
import secrets

import pytest

from svgx_common.contract import state
from svgx_common.contract.auth import FoundAccount
from svgx_common.contract.errors import Conflict, Forbidden, Invalid, NotFound
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.ratelimits import STORE, SetRateLimitsRequest, Whitelist
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED
from svgx_common.messaging.caller import Caller
from tests.integration.pages import all_pages
from tests.integration.state.drawing import Pen
from tests.integration.state.service import Client, Tables, user

pytestmark = pytest.mark.usefixtures("service")


async def names_of_all_pages(
    client: Client, caller: Caller, name: str | None, limit: int
) -> list[str]:
    """Return the names on all pages, in their order."""
    found: list[str] = []
    async for page in all_pages(
        lambda cursor: client.page(caller, name=name, limit=limit, cursor=cursor)
    ):
        assert len(page.items) == limit or page.next is None
        found += [canvas.name for canvas in page.items]
    return found


async def test_canvas_is_created_read_renamed_and_deleted(client: Client) -> None:
    """A canvas is created, read, renamed and deleted; a deleted canvas is not found. Proves R-STATE-12."""
    canvas_id = await client.create("One")
    canvas = await client.get(canvas_id)
    assert (canvas.name, canvas.role, canvas.revision) == ("One", CanvasRole.OWNER, 0)
    request = state.RenameCanvasRequest(canvas_id=canvas_id, name="Two")
    renamed = await client.bus.ask(state.RENAME_CANVAS, request, caller=client.me)
    assert renamed == await client.get(canvas_id)
    assert renamed.name == "Two"
    assert renamed.created_at == canvas.created_at < renamed.updated_at
    await client.delete(canvas_id)
    with pytest.raises(NotFound):
        await client.get(canvas_id)
    with pytest.raises(NotFound):
        await client.delete(canvas_id)
    with pytest.raises(NotFound):
        await client.bus.ask(state.RENAME_CANVAS, request, caller=client.me)


async def test_deleted_canvas_keeps_its_content(client: Client, tables: Tables) -> None:
    """Deleting a canvas sets `deleted_at` and keeps the journal. Proves R-LIFE-10."""
    canvas_id = await client.create()
    await client.append(Pen(canvas_id, "holder").draw("a"))
    await client.delete(canvas_id)
    assert (
        await tables.fetchval("SELECT count(*) FROM journal WHERE canvas_id = $1", canvas_id) == 1
    )
    assert (
        await tables.fetchval("SELECT deleted_at FROM canvas WHERE id = $1", canvas_id) is not None
    )


async def test_edit_changes_revision_and_updated_at(client: Client) -> None:
    """A committed edit increases the revision and `updated_at`. Proves R-STATE-2."""
    canvas_id = await client.create()
    before = await client.get(canvas_id)
    await client.append(Pen(canvas_id, "holder").draw("a"))
    after = await client.get(canvas_id)
    assert (after.revision, after.created_at) == (1, before.created_at)
    assert after.updated_at > before.updated_at


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_pages_have_each_canvas_once_newest_first(client: Client, limit: int) -> None:
    """All pages together have each canvas of the caller once, newest first. Proves R-STATE-14."""
    me = user()
    names = [f"canvas {number}" for number in range(7)]
    for name in names:
        await client.create(name, me)
        await client.create(name)  # of another user
    assert await names_of_all_pages(client, me, None, limit) == names[::-1]


async def test_canvases_created_at_the_same_time_are_not_lost_between_pages(
    client: Client, tables: Tables
) -> None:
    """Canvases with equal creation times are listed once each. Proves R-STATE-14."""
    me = user()
    ids = [await client.create(str(number), me) for number in range(5)]
    await tables.execute("UPDATE canvas SET created_at = now() WHERE id = ANY ($1)", ids)
    assert sorted(await names_of_all_pages(client, me, None, 2)) == ["0", "1", "2", "3", "4"]


async def test_canvas_created_between_two_pages_does_not_shift_them(client: Client) -> None:
    """A canvas that is created between two requests does not move canvases to another page. Proves R-STATE-14."""
    me = user()
    for number in range(4):
        await client.create(str(number), me)
    first = await client.page(me, limit=2)
    await client.create("new", me)
    second = await client.page(me, limit=2, cursor=first.next)
    assert [canvas.name for canvas in (*first.items, *second.items)] == ["3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("PLAN", ["Floor plan", "plan_b", "100% Plan"]),
        ("%", ["100% Plan"]),
        ("_", ["plan_b"]),
        ("\\", ["back\\slash"]),
        ("grün", ["GRÜN"]),
        ("nothing like it", []),
        ("", ["Floor plan", "plan_b", "back\\slash", "GRÜN", "100% Plan"]),
    ],
)
async def test_search_takes_every_character_literally(
    client: Client, name: str, found: list[str]
) -> None:
    """A search finds names that contain the text, in upper or lower case. No character is a wildcard.

    Proves R-STATE-14.
    """
    me = user()
    for each in ("100% Plan", "GRÜN", "back\\slash", "plan_b", "Floor plan"):
        await client.create(each, me)
    assert await names_of_all_pages(client, me, name, 2) == found


async def test_list_has_the_canvases_that_the_caller_may_see(client: Client) -> None:
    """A list has exactly the canvases that the caller may see, with the caller's role. Proves R-STATE-14."""
    name = secrets.token_hex(8)
    owner, guest, admin, watcher = user(), user(), user(Role.ADMIN), user(Role.VIEWER)
    shared, private, deleted = [await client.create(name, owner) for _ in range(3)]
    await client.set_member(shared, guest.user_id, CanvasRole.EDITOR)
    await client.set_member(shared, watcher.user_id, CanvasRole.EDITOR)
    await client.delete(deleted)

    async def seen(caller: Caller) -> list[tuple[str, str]]:
        page = await client.page(caller, name=name)
        return [(canvas.id, canvas.role.value) for canvas in page.items]

    assert await seen(owner) == [(private, "owner"), (shared, "owner")]
    assert await seen(guest) == [(shared, "editor")]
    assert await seen(watcher) == [(shared, "viewer")]
    assert await seen(admin) == [(private, "owner"), (shared, "owner")]
    assert await seen(user()) == []


@pytest.mark.parametrize("cursor", ["x", "!", "MTIz", "=" * 8, "é", "a" * 256])
async def test_invalid_cursor_is_refused(client: Client, cursor: str) -> None:
    """A cursor that is not the `next` of a page is refused, and the error names the field. Proves R-STATE-15."""
    with pytest.raises(Invalid) as caught:
        await client.page(cursor=cursor)
    assert caught.value.field == "cursor"


@pytest.mark.parametrize(("role", "member"), list(itertools.product(Role, (None, *CanvasRole))))
async def test_access_follows_global_role_and_membership(
    client: Client, role: Role, member: CanvasRole | None
) -> None:
    """The role on a canvas follows from the global role and the membership. Proves R-STATE-11, R-STATE-12."""
    canvas_id = await client.create()
    caller = user(role)
    if member is not None:
        await client.set_member(canvas_id, caller.user_id, member)
    expected = {
        Role.ADMIN: CanvasRole.OWNER,
        Role.EDITOR: member,
        Role.VIEWER: member and CanvasRole.VIEWER,
    }[role]
    if expected is None:
        with pytest.raises(Forbidden):
            await client.access(canvas_id, caller)
        with pytest.raises(Forbidden):
            await client.get(canvas_id, caller)
    else:
        assert await client.access(canvas_id, caller) is expected
        assert (await client.get(canvas_id, caller)).role is expected
    with pytest.raises(NotFound):
        await client.access("unknown", caller)
    await client.delete(canvas_id)
    with pytest.raises(NotFound):
        await client.access(canvas_id, caller)


async def test_member_is_added_changed_and_removed(client: Client) -> None:
    """A member is added, gets another role, and is removed.

    Unknown canvases are not found. Users that are not members are not found. Proves R-STATE-11.
    """
    canvas_id, guest = await client.create(), user()
    with pytest.raises(NotFound, match="not a member"):
        await client.member(canvas_id, guest.user_id)
    for role in CanvasRole:
        member = await client.set_member(canvas_id, guest.user_id, role)
        assert (member.user_id, member.role) == (guest.user_id, role)
        assert await client.member(canvas_id, guest.user_id) is role
    await client.remove_member(canvas_id, guest.user_id)
    with pytest.raises(Forbidden):
        await client.access(canvas_id, guest)
    with pytest.raises(NotFound, match="not a member"):
        await client.remove_member(canvas_id, guest.user_id)
    for canvas in ("unknown", await _deleted_canvas(client)):
        with pytest.raises(NotFound, match="no such canvas"):
            await client.member(canvas, client.me.user_id)
        with pytest.raises(NotFound, match="no such canvas"):
            await client.set_member(canvas, guest.user_id, CanvasRole.VIEWER)
        with pytest.raises(NotFound, match="no such canvas"):
            await client.remove_member(canvas, client.me.user_id)


async def _deleted_canvas(client: Client) -> str:
    canvas_id = await client.create()
    await client.delete(canvas_id)
    return canvas_id


async def test_member_change_does_not_wait_for_a_commit(client: Client, tables: Tables) -> None:
    """A change of members does not wait for the lock that a commit has on the canvas. Proves R-STATE-11."""
    canvas_id, guest = await client.create(), user()
    update = Pen(canvas_id, "holder").draw("a").update
    async with asyncio.timeout(20), tables.transaction():
        await tables.fetchval(
            "SELECT revision FROM append_entries($1, $2, $3, $4, $5, $6)",
            [canvas_id], ["one"], [1], [], [0], [update],
        )  # fmt: skip
        await client.set_member(canvas_id, guest.user_id, CanvasRole.EDITOR)
        assert await client.access(canvas_id, guest) is CanvasRole.EDITOR


async def test_last_owner_cannot_be_removed(client: Client) -> None:
    """The last owner cannot be removed, nor get another role. Proves R-STATE-13."""
    canvas_id, second, me = await client.create(), user().user_id, client.me.user_id
    await client.set_member(canvas_id, second, CanvasRole.EDITOR)
    with pytest.raises(Conflict, match="no other owner"):
        await client.remove_member(canvas_id, me)
    for role in (CanvasRole.EDITOR, CanvasRole.VIEWER):
        with pytest.raises(Conflict, match="no other owner"):
            await client.set_member(canvas_id, me, role)
    await client.set_member(canvas_id, me, CanvasRole.OWNER)
    await client.set_member(canvas_id, second, CanvasRole.OWNER)
    await client.set_member(canvas_id, me, CanvasRole.VIEWER)
    with pytest.raises(Conflict, match="no other owner"):
        await client.remove_member(canvas_id, second)
    await client.remove_member(canvas_id, me)


UNKNOWN_USERS = ["nobody", "", "user", "root", "9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f", "gone"]


@pytest.mark.parametrize("role", list(CanvasRole))
@pytest.mark.parametrize("user_id", UNKNOWN_USERS)
async def test_member_without_an_account_is_refused(
    client: Client, role: CanvasRole, user_id: str
) -> None:
    """A member needs an account; the error names the field, and nothing changes. Proves R-STATE-13."""
    canvas_id = await client.create()
    client.accounts["gone"] = None
    member = {"canvas_id": canvas_id, "user_id": user_id}
    for operation, fields in (
        (state.SET_MEMBER, {"role": role}),
        (state.GET_MEMBER, {}),
        (state.REMOVE_MEMBER, {}),
    ):
        body = json.dumps(member | fields).encode()
        with pytest.raises((NotFound, Invalid)) as refusal:
            await client.bus.request(operation.subject, body, timeout=10)
        assert refusal.value.field == "user_id"
    with pytest.raises(Conflict, match="no other owner"):
        await client.remove_member(canvas_id, client.me.user_id)


@pytest.mark.parametrize(
    "other",
    [
        None,
        FoundAccount(id="other", role=Role.EDITOR, disabled=True),
        FoundAccount(id="other", role=Role.ADMIN, disabled=True),
        FoundAccount(id="other", role=Role.VIEWER, disabled=False),
    ],
    ids=["deleted", "disabled", "disabled admin", "viewer"],
)
async def test_last_owner_that_can_act_stays(
    client: Client, tables: Tables, other: FoundAccount | None
) -> None:
    """An owner stays while the account of each other owner is deleted, disabled or a viewer. Proves R-STATE-13."""
    canvas_id, me = await client.create(), client.me.user_id
    # An earlier version may have stored this row without a check, or the account may have changed later.
    await tables.execute("INSERT INTO canvas_member VALUES ($1, 'other', 'owner')", canvas_id)
    client.accounts["other"] = other
    with pytest.raises(Conflict, match="no other owner") as refusal:
        await client.remove_member(canvas_id, me)
    assert refusal.value.field == "user_id"
    for role in (CanvasRole.EDITOR, CanvasRole.VIEWER):
        with pytest.raises(Conflict, match="no other owner"):
            await client.set_member(canvas_id, me, role)
    client.accounts["other"] = FoundAccount(id="other", role=Role.EDITOR, disabled=False)
    await client.remove_member(canvas_id, me)
    assert await client.member(canvas_id, "other") is CanvasRole.OWNER


async def test_owner_without_an_account_can_be_removed(client: Client, tables: Tables) -> None:
    """A row of an unknown user, which an earlier version stored, can be removed. Proves R-STATE-13."""
    canvas_id = await client.create()
    await tables.execute("INSERT INTO canvas_member VALUES ($1, 'nobody', 'owner')", canvas_id)
    await client.remove_member(canvas_id, "nobody")
    with pytest.raises(Conflict, match="no other owner"):
        await client.remove_member(canvas_id, client.me.user_id)


@pytest.mark.parametrize(
    ("users", "field"),
    [
        (["user-1", "user-2"], None),
        (["nobody"], "whitelist.users[0]"),
        (["user-1", "nobody"], "whitelist.users[1]"),
        (["user-1", "user-2", "gone", "nobody"], "whitelist.users[2]"),
    ],
)
async def test_whitelisted_account_must_exist(
    client: Client, users: list[str], field: str | None
) -> None:
    """The whitelist accepts only accounts that exist, and accounts that it already has. Proves R-STATE-13."""
    client.accounts["gone"] = None

    async def store(whitelisted: list[str]) -> None:
        request = SetRateLimitsRequest(whitelist=Whitelist(users=whitelisted))
        await client.bus.ask(STORE, request, caller=client.me)

    if field is None:
        await store(users)
        # The account `user-1` is deleted. Rate limits can still be stored if their whitelist already had the account.
        client.accounts["user-1"] = None
        await store(users)
    else:
        with pytest.raises(Invalid) as refusal:
            await store(users)
        assert refusal.value.field == field
    await store([])


async def test_owners_removed_or_demoted_at_the_same_time_leave_one_owner(
    client: Client, tables: Tables
) -> None:
    """When all owners are removed or get another role at the same time, one owner remains. Proves R-STATE-13."""
    for _ in range(10):
        canvas_id = await client.create()
        owners = [client.me.user_id, *(user().user_id for _ in range(3))]
        for owner in owners[1:]:
            await client.set_member(canvas_id, owner, CanvasRole.OWNER)
        removals = [client.remove_member(canvas_id, owner) for owner in owners[:2]]
        demotions = [client.set_member(canvas_id, owner, CanvasRole.EDITOR) for owner in owners[2:]]
        results = await asyncio.gather(*removals, *demotions, return_exceptions=True)
        assert [type(result) for result in results if isinstance(result, Exception)] == [Conflict]
        count_owners = "SELECT count(*) FROM canvas_member WHERE canvas_id = $1 AND role = 'owner'"
        assert await tables.fetchval(count_owners, canvas_id) == 1


async def test_changed_access_is_announced_after_the_change(client: Client) -> None:
    """A change of access is announced after it is visible; a failed change is not announced. Proves R-STATE-16."""
    canvas_id, guest = await client.create(), user()
    has_access: asyncio.Queue[bool] = asyncio.Queue()

    async def listener(_: str, __: bytes) -> None:
        # The gateway does the same: it asks for the role again, and must see the change.
        try:
            has_access.put_nowait(bool(await client.access(canvas_id, guest)))
        except (Forbidden, NotFound):
            has_access.put_nowait(False)

    await client.bus.listen(CANVAS_ACCESS_CHANGED.subject_of(canvas_id=canvas_id), listener)
    await client.bus.settle()
    async with asyncio.timeout(20):
        await client.set_member(canvas_id, guest.user_id, CanvasRole.VIEWER)
        assert await has_access.get() is True
        await client.remove_member(canvas_id, guest.user_id)
        assert await has_access.get() is False
        await client.set_member(canvas_id, guest.user_id, CanvasRole.OWNER)
        assert await has_access.get() is True
        with pytest.raises(NotFound):
            await client.remove_member(canvas_id, "nobody")
        await client.delete(canvas_id)
        assert await has_access.get() is False
    assert has_access.empty()
