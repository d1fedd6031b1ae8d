"""Share links: their roles, their ends, and the accounts that created them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from svgx_common.contract.auth import (
    FIND_ACCOUNTS,
    FindAccountsRequest,
    FoundAccount,
    FoundAccounts,
)
from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Overloaded,
    SvgxError,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.revocations import REVOKED, Revocation, RevocationList
from svgx_common.contract.state import EXPORT, ExportRequest
from svgx_common.contract.storage.links import (
    CHECK_LINK,
    END_LINK,
    LIST_LINKS,
    CheckedLink,
    CheckLinkRequest,
    EndLinkRequest,
    LinkPage,
    ListLinksRequest,
    NewLink,
)
from svgx_common.database.batches import BATCH_ROWS
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder
from svgx_devstack import DevStack
from svgx_state.accounts import Accounts
from svgx_state.sharing import creators
from svgx_state.sharing import links as sharing_links
from svgx_state.sharing.creators import LinkCreators
from svgx_state.sharing.links import Links
from tests.blocked import until_blocked
from tests.integration.pages import all_pages
from tests.integration.state.fresh_tables import FreshTables
from tests.integration.state.service import Client, Tables, directory, user

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(autouse=True)
def _answers_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for the answer about a creator, because an answer may be late on a busy machine."""
    monkeypatch.setattr(creators, "TIMEOUT_SECONDS", 4.5)


def visitor(link: NewLink) -> Caller:
    """Return the caller that the gateway makes for a visitor with a link and without an account."""
    return Caller.of_link(link.id)


async def check(client: Client, token: str) -> CheckedLink:
    return await client.bus.ask(CHECK_LINK, CheckLinkRequest(token=token))


async def end(client: Client, link: NewLink) -> None:
    request = EndLinkRequest(canvas_id=link.canvas_id, link_id=link.id)
    await client.bus.ask(END_LINK, request, caller=client.me)


async def links(client: Client, canvas_id: str, **query: int | str | None) -> LinkPage:
    request = ListLinksRequest.model_validate({"canvas_id": canvas_id, **query})
    return await client.bus.ask(LIST_LINKS, request, caller=client.me)


async def refusal(client: Client, link: NewLink) -> type[SvgxError] | None:
    """Return the kind of error that a visitor gets, or None for a visitor with a role."""
    try:
        await client.access(link.canvas_id, visitor(link))
    except SvgxError as error:
        return type(error)
    return None


async def expire(tables: Tables, link: NewLink) -> None:
    """Set the end of the link to a moment in the past."""
    await tables.execute(
        "UPDATE share_link SET expires_at = clock_timestamp() - interval '1 s' WHERE id = $1",
        link.id,
    )


@pytest.mark.parametrize("role", ["viewer", "editor"])
async def test_link_gives_its_role_on_its_canvas_only(client: Client, role: str) -> None:
    """Proves R-LIFE-1: a visitor has the link's role on the link's canvas, and none on another one."""
    canvas_id, other = await client.create(), await client.create()
    link = await client.link(canvas_id, role=role)
    assert await client.access(canvas_id, visitor(link)) == role
    assert (await client.get(canvas_id, visitor(link))).role == role
    with pytest.raises(Forbidden):
        await client.access(other, visitor(link))
    checked = await check(client, link.token)
    assert (checked.id, checked.canvas_id, checked.expires_at) == (link.id, canvas_id, None)


@pytest.mark.parametrize(
    ("account", "member", "role", "expected"),
    [
        (Role.EDITOR, None, "viewer", CanvasRole.VIEWER),
        (Role.EDITOR, CanvasRole.VIEWER, "editor", CanvasRole.EDITOR),
        (Role.EDITOR, CanvasRole.EDITOR, "viewer", CanvasRole.EDITOR),
        (Role.EDITOR, CanvasRole.OWNER, "viewer", CanvasRole.OWNER),
        (Role.VIEWER, CanvasRole.OWNER, "editor", CanvasRole.EDITOR),
        (Role.VIEWER, None, "viewer", CanvasRole.VIEWER),
        (Role.ADMIN, None, "viewer", CanvasRole.OWNER),
    ],
)
async def test_account_with_a_link_has_the_higher_of_both_roles(
    client: Client, account: Role, member: CanvasRole | None, role: str, expected: CanvasRole
) -> None:
    """Proves R-LIFE-2: the link counts with and without a membership. After the link's end, the membership counts."""
    canvas_id = await client.create()
    caller = user(account)
    if member is not None:
        await client.set_member(canvas_id, caller.user_id, member)
    link = await client.link(canvas_id, role=role)
    with_link = caller.with_link(link.id)
    assert await client.access(canvas_id, with_link) == expected
    await end(client, link)
    if account is not Role.ADMIN and member is None:
        with pytest.raises(Forbidden):
            await client.access(canvas_id, with_link)
    else:
        own = await client.access(canvas_id, caller)
        assert await client.access(canvas_id, with_link) == own


@pytest.mark.parametrize("role", ["viewer", "editor"])
@pytest.mark.parametrize("past", ["at", "version"])
async def test_visitor_exports_the_present_only(client: Client, role: str, past: str) -> None:
    """Proves R-LIFE-7: a visitor's export with `at` or `version` is refused."""
    canvas_id = await client.create()
    link = await client.link(canvas_id, role=role)
    query = {"at": datetime.now(UTC).isoformat(), "version": "0" * 32}
    request = {"canvas_id": canvas_id, "format": "yjs"}
    present = ExportRequest.model_validate(request)
    assert (await client.bus.ask(EXPORT, present, caller=visitor(link))).content
    of_past = ExportRequest.model_validate({**request, past: query[past]})
    with pytest.raises(Forbidden, match="a share link shows the present only"):
        await client.bus.ask(EXPORT, of_past, caller=visitor(link))


@pytest.mark.parametrize("text", ["svgxlink_", "svgxlink_0123456789ab_x", "é", "a" * 128])
async def test_text_that_is_no_token_is_refused(client: Client, text: str) -> None:
    """Proves R-LIFE-1: only the token of a live link is accepted."""
    with pytest.raises(Unauthenticated):
        await check(client, text)


async def revoke(client: Client, tables: Tables, link: NewLink) -> None:
    await end(client, link)


async def pass_time(client: Client, tables: Tables, link: NewLink) -> None:
    await expire(tables, link)


async def demote(client: Client, tables: Tables, link: NewLink) -> None:
    await client.set_member(link.canvas_id, link.created_by, CanvasRole.EDITOR)


async def remove(client: Client, tables: Tables, link: NewLink) -> None:
    await client.remove_member(link.canvas_id, link.created_by)


async def disable(client: Client, tables: Tables, link: NewLink) -> None:
    client.accounts[link.created_by] = FoundAccount(
        id=link.created_by, role=Role.EDITOR, disabled=True
    )


async def delete_account(client: Client, tables: Tables, link: NewLink) -> None:
    client.accounts[link.created_by] = None


async def make_viewer(client: Client, tables: Tables, link: NewLink) -> None:
    client.accounts[link.created_by] = FoundAccount(
        id=link.created_by, role=Role.VIEWER, disabled=False
    )


async def delete_canvas(client: Client, tables: Tables, link: NewLink) -> None:
    await client.delete(link.canvas_id)


Ending = Callable[[Client, Tables, NewLink], Awaitable[None]]


@pytest.mark.parametrize(
    ("ending", "error", "token_is_valid"),
    [
        (revoke, Unauthenticated, False),
        (pass_time, Unauthenticated, False),
        (demote, Unauthenticated, False),
        (remove, Unauthenticated, False),
        (disable, Unauthenticated, True),
        (delete_account, Unauthenticated, True),
        (make_viewer, Unauthenticated, True),
        (delete_canvas, NotFound, True),
    ],
)
async def test_ended_link_gives_no_role(
    client: Client, tables: Tables, ending: Ending, error: type[SvgxError], token_is_valid: bool
) -> None:
    """Proves R-LIFE-3: a link gives no role after its revocation or its time, or without its creator's rights."""
    canvas_id, creator = await client.create(), user()
    await client.set_member(canvas_id, creator.user_id, CanvasRole.OWNER)
    link = await client.link(canvas_id, creator)
    other = await client.link(canvas_id)
    assert await refusal(client, link) is None
    await ending(client, tables, link)
    assert await refusal(client, link) is error
    if token_is_valid:  # the link keeps its row, because the account or the canvas may be restored
        assert (await check(client, link.token)).id == link.id
    else:
        with pytest.raises(Unauthenticated):
            await check(client, link.token)
    # The link of another owner stays valid while the canvas exists.
    assert await refusal(client, other) is (NotFound if error is NotFound else None)


async def test_link_of_an_admin_needs_no_membership(client: Client) -> None:
    """Proves R-LIFE-3: an admin may share every canvas. The link gives no role while the account is not an admin."""
    canvas_id, admin = await client.create(), user(Role.ADMIN)
    client.accounts[admin.user_id] = FoundAccount(id=admin.user_id, role=Role.ADMIN, disabled=False)
    link = await client.link(canvas_id, admin)
    assert await refusal(client, link) is None
    client.accounts[admin.user_id] = FoundAccount(
        id=admin.user_id, role=Role.EDITOR, disabled=False
    )
    assert await refusal(client, link) is Unauthenticated


async def test_restored_account_gets_its_links_back_but_a_demoted_owner_does_not(
    client: Client,
) -> None:
    """Proves R-LIFE-3: a restored account gets its links back.

    A creator that is no longer an owner loses the links for good.
    """
    canvas_id, creator = await client.create(), user()
    await client.set_member(canvas_id, creator.user_id, CanvasRole.OWNER)
    link = await client.link(canvas_id, creator)
    client.accounts[creator.user_id] = None
    assert await refusal(client, link) is Unauthenticated
    del client.accounts[creator.user_id]
    assert await refusal(client, link) is None
    await client.set_member(canvas_id, creator.user_id, CanvasRole.VIEWER)
    await client.set_member(canvas_id, creator.user_id, CanvasRole.OWNER)
    assert await refusal(client, link) is Unauthenticated


async def test_link_that_is_created_during_the_demotion_of_its_creator_is_refused(
    client: Client, tables: Tables
) -> None:
    """The request had passed the gateway's check of the role. Proves R-LIFE-3: no such link is left."""
    canvas_id, creator = await client.create(), user()
    await client.set_member(canvas_id, creator.user_id, CanvasRole.OWNER)
    async with tables.transaction():
        # Take the lock that a request takes while it creates another link.
        await tables.execute(
            "SELECT pg_advisory_xact_lock(hashtext('svgx.state.links'), hashtext($1))", canvas_id
        )
        creating = asyncio.create_task(client.link(canvas_id, creator))
        await until_blocked(tables)
        await client.set_member(canvas_id, creator.user_id, CanvasRole.VIEWER)
    with pytest.raises(Forbidden):
        await creating
    assert (await links(client, canvas_id)).items == []


@pytest.mark.parametrize("removed", [False, True])
async def test_links_of_a_demoted_or_removed_owner_are_revoked_with_an_event(
    client: Client, tables: Tables, removed: bool
) -> None:
    """Each link that ends with its creator's role has an event, like a link that an owner revokes.

    Proves R-EVENT-1 and R-LIFE-3.
    """
    canvas_id, creator = await client.create(), user()
    await client.set_member(canvas_id, creator.user_id, CanvasRole.OWNER)
    ended = [(await client.link(canvas_id, creator)).id for _ in range(2)]
    await client.link(canvas_id)
    if removed:
        await client.remove_member(canvas_id, creator.user_id)
    else:
        await client.set_member(canvas_id, creator.user_id, CanvasRole.EDITOR)
    revoked = await tables.fetch(
        "SELECT data ->> 'link_id' AS id, actor FROM event"
        " WHERE entity_id = $1 AND type = 'link.revoked'",
        canvas_id,
    )
    assert {(row["id"], row["actor"]) for row in revoked} == {
        (link_id, client.me.user_id) for link_id in ended
    }


async def test_links_are_listed_without_tokens_until_they_end(
    client: Client, tables: Tables
) -> None:
    """Proves R-LIFE-4: the pages have each live link of the canvas once, newest first, and no secret."""
    canvas_id = await client.create()
    await client.link(await client.create())
    made = [await client.link(canvas_id, label=f"link {number}") for number in range(5)]
    await end(client, made.pop(1))
    await expire(tables, made.pop(2))
    pages = all_pages(lambda cursor: links(client, canvas_id, limit=2, cursor=cursor))
    found = [link async for page in pages for link in page.items]
    expected = [type(found[0]).model_validate(each.model_dump()) for each in reversed(made)]
    assert found == expected
    assert all(link.token.startswith(link.prefix) for link in made)
    stored = await tables.fetch("SELECT * FROM share_link WHERE canvas_id = $1", canvas_id)
    tokens = [link.token.encode() for link in made]
    assert not any(token in repr(row).encode() for row in stored for token in tokens)


async def test_link_of_another_canvas_cannot_be_revoked(client: Client) -> None:
    """Proves R-LIFE-4: a link is found only under the id of its own canvas."""
    link = await client.link(await client.create())
    other = await client.create()
    for canvas_id, link_id in ((other, link.id), (link.canvas_id, "unknown")):
        request = EndLinkRequest(canvas_id=canvas_id, link_id=link_id)
        with pytest.raises(NotFound) as refused:
            await client.bus.ask(END_LINK, request, caller=client.me)
        assert refused.value.field == "link_id"
    assert await refusal(client, link) is None


async def test_link_with_an_end_in_the_past_is_refused(client: Client) -> None:
    """Proves R-LIFE-4: the error names the field."""
    past = datetime.now(UTC) - timedelta(seconds=5)
    with pytest.raises(Invalid) as refused:
        await client.link(await client.create(), expires_at=past)
    assert refused.value.field == "expires_at"


async def test_links_of_a_canvas_are_bounded(backing: DevStack, client: Client) -> None:
    """Proves R-LIFE-4: the limit also holds for requests at the same time. An ended link does not count."""
    canvas_id = await client.create()
    earlier = [await client.link(canvas_id) for _ in range(45)]
    # Few requests at once, because each waits for one of the replica's few connections for a limited time.
    results = await asyncio.gather(
        *(client.link(canvas_id) for _ in range(15)), return_exceptions=True
    )
    made = earlier + [each for each in results if isinstance(each, NewLink)]
    refused = [each for each in results if isinstance(each, Conflict)]
    assert (len(made), len(refused)) == (50, 10)
    assert {each.limit for each in refused} == {50}
    await end(client, made[0])
    await client.link(canvas_id)


@asynccontextmanager
async def announcements(backing: DevStack) -> AsyncIterator[asyncio.Queue[str]]:
    """Collect the ids of the canvases on which state announces changed roles."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    bus = await Bus.connect(backing.nats_url("operator"), "gateway", "listener")

    async def hear(subject: str, _: bytes) -> None:
        heard.put_nowait(subject.split(".")[2])

    try:
        await bus.listen("svgx.canvas.*.access", hear)
        await bus.settle()
        yield heard
    finally:
        await bus.close()


async def test_changed_account_is_announced_on_the_canvases_that_it_shared(
    backing: DevStack, client: Client
) -> None:
    """Proves R-LIFE-5: the gateways check open connections when auth revokes the tokens of a link's creator."""
    creator, bystander = user(), user()
    canvas_id, other = await client.create(caller=creator), await client.create(caller=bystander)
    await client.link(canvas_id, creator)
    await client.link(other, bystander)
    auth = await Bus.connect(backing.nats_url("auth"), "auth", secrets.token_hex(6))
    try:
        async with announcements(backing) as heard:
            ended = [
                # An ended session of the bystander is no change of its account.
                Revocation(user_id=bystander.user_id, session_id="s", until=2**40, reason="ended"),
                Revocation(
                    user_id=creator.user_id, before_version=2, until=2**40, reason="account"
                ),
            ]
            for item in ended:
                await auth.broadcast(REVOKED, RevocationList(items=[item]))
            async with asyncio.timeout(10):
                assert await heard.get() == canvas_id
            assert heard.empty()
    finally:
        await auth.close()


async def test_revoked_link_is_announced_after_it_has_ended(
    backing: DevStack, client: Client
) -> None:
    """Proves R-LIFE-5: a gateway that checks the link after the announcement finds that it has ended."""
    link = await client.link(await client.create())
    async with announcements(backing) as heard:
        ending = asyncio.create_task(end(client, link))
        async with asyncio.timeout(10):
            assert await heard.get() == link.canvas_id
        assert await refusal(client, link) is Unauthenticated
        await ending


@asynccontextmanager
async def overloaded_directory(backing: DevStack) -> AsyncIterator[None]:
    """Refuse all requests for accounts, as an auth service with too many requests does."""

    async def refuse(_: FindAccountsRequest, __: Call) -> FoundAccounts:
        raise Overloaded

    bus = await Bus.connect(backing.nats_url("auth"), "auth", secrets.token_hex(6))
    responder = Responder(bus, "0")
    responder.answer(FIND_ACCOUNTS, refuse)
    await responder.join()
    await bus.settle()
    yield
    await responder.drain()
    await bus.close()


async def test_answer_about_a_creator_counts_while_auth_does_not_answer(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-6: the last answer counts until it is forgotten. Without an answer, the role is unavailable."""
    known, unknown = user().user_id, user().user_id
    bus = await Bus.connect(backing.nats_url("state"), "state", secrets.token_hex(6))
    try:
        link_creators = LinkCreators(Accounts(bus))
        async with directory(backing):
            await bus.settle()
            assert await link_creators.may_share(known, CanvasRole.OWNER)
            assert not await link_creators.may_share(known, CanvasRole.EDITOR)
        monkeypatch.setattr(creators, "TIMEOUT_SECONDS", 0.3)
        assert await link_creators.may_share(known, CanvasRole.OWNER)
        with pytest.raises(Unavailable):
            await link_creators.may_share(unknown, CanvasRole.OWNER)
        async with overloaded_directory(backing):
            assert await link_creators.may_share(known, CanvasRole.OWNER)
        link_creators.forget([known])
        with pytest.raises(Unavailable):
            await link_creators.may_share(known, CanvasRole.OWNER)
    finally:
        await bus.close()


async def test_all_expired_links_are_removed_in_one_run(
    client: Client, fresh: FreshTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table does not grow, however many links expire between two runs. Proves R-LIFE-3."""
    monkeypatch.setattr(sharing_links, "PERIOD_SECONDS", 0.0)
    canvas_id = await fresh.create()
    await fresh.tables.execute(
        "INSERT INTO share_link (id, canvas_id, role, prefix, hash, created_by, expires_at)"
        " SELECT n::text, $1, 'viewer', n::text, n::text::bytea, 'ann', now() - interval '1 hour'"
        " FROM generate_series(1, $2) n",
        canvas_id,
        BATCH_ROWS + 1,
    )
    await Links(fresh.database, LinkCreators(Accounts(client.bus)), 50).forget_expired_later()
    assert await fresh.tables.fetchval("SELECT count(*) FROM share_link") == 0
