"""Quotas: the counts of journal bytes, the use that the API shows, and the bounds on new canvases."""

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from svgx_common.contract import state
from svgx_common.contract.auth import FoundAccount, UserRequest
from svgx_common.contract.errors import (
    Conflict,
    Invalid,
    NotFound,
    QuotaExceeded,
    QuotaFull,
    SvgxError,
)
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import CanvasRequest, Entry
from svgx_common.contract.storage.deletion import PURGE_CANVAS, RESTORE_CANVAS
from svgx_common.contract.storage.links import END_LINK, EndLinkRequest
from svgx_common.contract.storage.quotas import (
    CANVAS_USAGE,
    GET_QUOTAS,
    OWN_USAGE,
    QUOTA_REPORT,
    QUOTAS_CHANGED,
    SET_QUOTAS,
    TOP_USAGE,
    USER_USAGE,
    AccountUsage,
    CanvasUsage,
    QuotaName,
    QuotaReport,
    Quotas,
    QuotasRequest,
    QuotaStatus,
    SetQuotasRequest,
    TopUsageRequest,
    Use,
)
from svgx_common.messaging.caller import Caller
from svgx_devstack import DevStack
from svgx_state.quotas import counter, metrics
from svgx_state.quotas.counter import UsageCounter
from tests.blocked import until_blocked
from tests.clock import datetime_with_offset
from tests.integration.state.service import Client, Tables, replica, user
from tests.integration.state.vault import database, tables_of

MIB = 1024 * 1024

NO_COMPACTION = {"compact_after_bytes": 2**30}
"""Settings with which no compaction changes the bytes that a test expects."""


class Reports:
    """The quota reports that state replicas broadcast."""

    def __init__(self) -> None:
        self.received: list[QuotaReport] = []
        self._arrived = asyncio.Condition()

    async def add(self, _: str, content: bytes) -> None:
        """Store a report, and wake the tests that wait for one."""
        async with self._arrived:
            self.received.append(QuotaReport.model_validate_json(content))
            self._arrived.notify_all()

    async def wait_for_account(self, user_id: str, at_least: int = 0) -> int:
        """Wait until a report gives an account at least `at_least` bytes, and return the number of bytes."""

        def found() -> int | None:
            used = [each.accounts[user_id] for each in self.received if user_id in each.accounts]
            return next((each for each in reversed(used) if each >= at_least), None)

        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: found() is not None)
        used = found()
        assert used is not None
        return used


@pytest.fixture
async def reports(client: Client) -> Reports:
    """The quota reports that state replicas broadcast during the test."""
    reports = Reports()
    await client.bus.listen(QUOTAS_CHANGED.subject, reports.add)
    await client.bus.settle()
    return reports


@asynccontextmanager
async def quick_replica(backing: DevStack, **settings: float) -> AsyncIterator[None]:
    """Run a replica that stores its counts every 10 ms."""
    async with replica(backing, quota_flush_seconds=0.01, **settings):
        yield


@pytest.fixture
async def _reset(client: Client, backing: DevStack) -> AsyncIterator[None]:
    """Remove the quotas that a test has set."""
    yield
    async with quick_replica(backing):
        await client.bus.ask(SET_QUOTAS, SetQuotasRequest(), caller=user(Role.ADMIN))


def entry(canvas_id: str, size: int, *authors: str, sent: tuple[int, ...] = ()) -> Entry:
    """Return an entry of `size` bytes. `sent` has the number of bytes that each author sent."""
    return Entry(canvas_id, secrets.token_hex(4), 1, authors, bytes(size), sent)


async def own_use(client: Client, name: QuotaName, caller: Caller) -> Use:
    usage: AccountUsage = await client.bus.ask(OWN_USAGE, QuotasRequest(), caller=caller)
    (use,) = (each for each in usage.uses if each.name is name)
    return use


async def set_quotas(client: Client, **quotas: object) -> Quotas:
    request = SetQuotasRequest.model_validate(quotas)
    return await client.bus.ask(SET_QUOTAS, request, caller=user(Role.ADMIN))


async def test_entry_counts_towards_its_authors_and_its_canvas(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """Proves R-QUOTA-1: when edits of two authors are merged, their shares follow the bytes that each author sent."""
    flood, small = user(), user()
    async with quick_replica(backing):
        canvas_id = await client.create()
        authors = (flood.user_id, small.user_id)
        await client.append(entry(canvas_id, 900, *authors, sent=(200_000, 2_000)))
    # The replica has stored its counts when it has ended.
    rows = await tables.fetch(
        "SELECT user_id, journal_bytes FROM account_usage WHERE user_id = ANY ($1)", authors
    )
    assert {row["user_id"]: row["journal_bytes"] for row in rows} == {
        flood.user_id: 891,
        small.user_id: 9,
    }
    canvas_query = "SELECT journal_bytes FROM canvas_usage WHERE canvas_id = $1"
    assert await tables.fetchval(canvas_query, canvas_id) == 900


async def test_repeated_entries_and_entries_of_unknown_canvases_do_not_count(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """Proves R-QUOTA-1: an entry counts once, when it is committed for the first time."""
    someone = user()
    async with quick_replica(backing):
        canvas_id = await client.create()
        one = entry(canvas_id, 100, someone.user_id)
        await client.append(one)
        await client.append(one, entry("unknown", 100, someone.user_id))
    query = "SELECT journal_bytes FROM account_usage WHERE user_id = $1"
    assert await tables.fetchval(query, someone.user_id) == 100


async def test_key_with_a_lower_role_has_the_bounds_of_its_account(
    client: Client, backing: DevStack
) -> None:
    """An admin has higher bounds than an editor. Proves R-QUOTA-5."""
    admin = user(Role.ADMIN)
    key = dataclasses.replace(admin, role=Role.EDITOR, by_key=True, account_role=Role.ADMIN)
    async with quick_replica(backing):
        usages = [
            await client.bus.ask(OWN_USAGE, QuotasRequest(), caller=caller)
            for caller in (admin, key, dataclasses.replace(admin, role=Role.EDITOR))
        ]
        limits = [[each.limit for each in usage.uses] for usage in usages]
        assert limits[0] == limits[1] != limits[2]


async def test_edits_of_visitors_count_towards_the_creator_of_their_links(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """Proves R-QUOTA-2: all links of an account share its bound.

    If a link ends before the count of its bytes is stored, the bytes count towards the creator of the canvas.
    """
    owner, creator = user(), user()
    async with quick_replica(backing):
        canvas_id = await client.create(caller=owner)
    async with replica(backing, quota_flush_seconds=60):
        await client.bus.ask(
            state.SET_MEMBER,
            state.SetMemberRequest(
                canvas_id=canvas_id, user_id=creator.user_id, role=CanvasRole.OWNER
            ),
            caller=owner,
        )
        links = [await client.link(canvas_id, creator, role="editor") for _ in range(3)]
        visitors = [Caller.of_link(link.id).user_id for link in links]
        authors = (creator.user_id, *visitors)
        await client.append(entry(canvas_id, 400, *authors, sent=(100, 100, 100, 100)))
        await client.append(*(entry(canvas_id, 1000, visitor) for visitor in visitors))
        ended = EndLinkRequest(canvas_id=canvas_id, link_id=links[0].id)
        await client.bus.ask(END_LINK, ended, caller=owner)
    rows = await tables.fetch(
        "SELECT user_id, journal_bytes FROM account_usage WHERE user_id = ANY ($1)",
        [owner.user_id, *authors],
    )
    assert {row["user_id"]: row["journal_bytes"] for row in rows} == {
        creator.user_id: 300 + 2000,
        owner.user_id: 100 + 1000,  # the bytes of the link that has ended
    }
    canvas_query = "SELECT journal_bytes FROM canvas_usage WHERE canvas_id = $1"
    assert await tables.fetchval(canvas_query, canvas_id) == 3400


async def test_bytes_count_for_the_day_of_the_clock_of_postgresql(
    client: Client, backing: DevStack, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica with a clock that is a day behind counts bytes for the present day. Proves R-QUOTA-2."""
    monkeypatch.setattr(
        counter, "datetime", datetime_with_offset(timedelta(days=-1)), raising=False
    )
    someone = user()
    async with quick_replica(backing):
        canvas_id = await client.create(caller=someone)
        await client.append(entry(canvas_id, 1000, someone.user_id))
    query = "SELECT (now() AT TIME ZONE 'UTC')::date - day FROM account_usage WHERE user_id = $1"
    assert await tables.fetchval(query, someone.user_id) == 0


@pytest.mark.usefixtures("_reset")
async def test_account_with_a_flood_of_edits_is_reported_within_its_first_megabytes(
    client: Client, backing: DevStack, reports: Reports
) -> None:
    """Proves R-QUOTA-2: an account that adds many large entries is reported to the gateways after about 4 MiB.

    The replica stores its counts every minute, and at once after 4 MiB. The test waits for less than a minute.
    """
    someone = user()
    async with replica(backing, quota_flush_seconds=60):
        await set_quotas(client, users={someone.user_id: {"journal_bytes_per_day": 2 * MIB}})
        canvas_id = await client.create(caller=someone)
        for _ in range(4 * MIB // 200_000 + 1):
            await client.append(entry(canvas_id, 200_000, someone.user_id))
        assert await reports.wait_for_account(someone.user_id) >= 4 * MIB
        use = await own_use(client, QuotaName.ACCOUNT_JOURNAL, someone)
        assert (use.status, use.limit) == (QuotaStatus.OVER, 2 * MIB)
        assert use.resets_at is not None
        report = await client.bus.ask(QUOTA_REPORT, QuotasRequest())
        assert report.accounts[someone.user_id] == use.used


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
@pytest.mark.usefixtures("_reset")
async def test_canvases_beyond_the_bound_of_an_hour_are_refused(
    client: Client, backing: DevStack, at_once: bool
) -> None:
    """Proves R-QUOTA-4: an account creates as many canvases as the bound allows, and further ones are refused.

    Deleted canvases also count towards this bound.
    """
    someone, other = user(), user()
    async with replica(backing, quota_account_canvases_per_hour=20):

        async def create(delete: bool) -> SvgxError | None:
            try:
                canvas_id = await client.create(caller=someone)
            except SvgxError as error:
                return error
            if delete:
                await client.delete(canvas_id)
            return None

        if at_once:
            # Few requests at once, because each waits for one of the replica's few connections for a limited time.
            outcomes = [await create(False) for _ in range(15)]
            outcomes += await asyncio.gather(*(create(False) for _ in range(15)))
        else:
            outcomes = [await create(True) for _ in range(149)]
        refused = [each for each in outcomes if each is not None]
        assert len(outcomes) - len(refused) == 20
        for error in refused:
            assert isinstance(error, QuotaExceeded)
            assert error.limit == 20
            assert error.retry_after is not None
            assert 3000 < error.retry_after <= 3600
        await client.create(caller=other)
        use = await own_use(client, QuotaName.CANVASES_PER_HOUR, someone)
        assert (use.used, use.limit, use.status) == (20, 20, QuotaStatus.OVER)


async def test_removed_canvas_counts_in_the_hour_and_the_day_of_its_creation(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """Proves R-QUOTA-4: an account that removes its canvases for good creates no more canvases than the bound allows.

    Its own view and the admin's view of the use agree with the bound. After a day, the record of the removed canvases
    is deleted.
    """
    admin = user(Role.ADMIN)
    async with quick_replica(backing, quota_account_canvases_per_hour=3):
        removed: list[str] = []
        for _ in range(3):
            canvas_id = await client.create()
            await client.delete(canvas_id)
            request = CanvasRequest(canvas_id=canvas_id)
            assert (await client.bus.ask(PURGE_CANVAS, request, caller=admin)).finished
            removed.append(canvas_id)
        with pytest.raises(QuotaExceeded) as refused:
            await client.create()
        assert refused.value.retry_after is not None
        assert 3000 < refused.value.retry_after <= 3600
        own = await client.bus.ask(OWN_USAGE, QuotasRequest(), caller=client.me)
        uses = {use.name: use.used for use in own.uses}
        assert uses[QuotaName.CANVASES] == 0
        assert uses[QuotaName.CANVASES_PER_HOUR] == uses[QuotaName.CANVASES_PER_DAY] == 3
        request_of_admin = UserRequest(user_id=client.me.user_id)
        seen = await client.bus.ask(USER_USAGE, request_of_admin, caller=admin)
        assert {use.name: use.used for use in seen.uses} == uses
        # An admin's restore of a backup creates the first canvas again, with the id and time of the backup.
        await tables.execute(
            "INSERT INTO canvas (id, name, created_by, created_at)"
            " SELECT canvas_id, '', created_by, created_at FROM purged_canvas WHERE canvas_id = $1",
            removed[0],
        )
        assert (await own_use(client, QuotaName.CANVASES_PER_HOUR, client.me)).used == 3
        await tables.execute(
            "UPDATE purged_canvas SET created_at = created_at - interval '25 hours'"
            " WHERE canvas_id = $1",
            removed[2],
        )
        assert (await own_use(client, QuotaName.CANVASES_PER_DAY, client.me)).used == 2
    # A new replica deletes old records when it stores its first counts.
    async with quick_replica(backing):
        await client.append(entry(removed[0], 10, client.me.user_id))
    rows = await tables.fetch(
        "SELECT canvas_id FROM purged_canvas WHERE created_by = $1", client.me.user_id
    )
    assert {row["canvas_id"] for row in rows} == set(removed[:2])


async def test_deleted_canvas_makes_room_for_another(client: Client, backing: DevStack) -> None:
    """Proves R-QUOTA-4: the bound of canvases counts those that the account created and that are not deleted."""
    async with replica(backing, quota_account_canvases=2):
        first = await client.create()
        await client.create()
        with pytest.raises(QuotaFull) as error:
            await client.create()
        assert error.value.limit == 2
        await client.delete(first)
        await client.create()


@pytest.mark.parametrize(
    ("restorer", "live", "restorer_live", "creator", "refused"),
    [
        ("creator", 1, 0, Role.EDITOR, False),
        ("creator", 2, 0, Role.EDITOR, True),
        ("owner", 1, 2, Role.EDITOR, False),
        ("owner", 2, 0, Role.EDITOR, True),
        ("admin", 1, 0, Role.EDITOR, False),
        ("admin", 2, 0, Role.EDITOR, True),
        ("owner", 2, 0, Role.ADMIN, False),
        ("owner", 2, 0, None, False),
    ],
)
async def test_restored_canvas_counts_towards_its_creator(
    client: Client,
    backing: DevStack,
    *,
    restorer: str,
    live: int,
    restorer_live: int,
    creator: Role | None,
    refused: bool,
) -> None:
    """Proves R-QUOTA-4: any restore of a canvas needs room in the bound of the account that created the canvas.

    `live` and `restorer_live` are the numbers of canvases of the creator and of another restorer, with a bound of two.
    `creator` is the role of the creator, or None after the account was deleted.
    """
    creating, owner = client.me, user()
    callers = {"creator": creating, "owner": owner, "admin": user(Role.ADMIN)}
    caller = callers[restorer]
    async with replica(backing, quota_account_canvases=2):
        canvas_id = await client.create()
        await client.set_member(canvas_id, owner.user_id, CanvasRole.OWNER)
        await client.delete(canvas_id)
        for number, account in ((live, creating), (restorer_live, caller)):
            for _ in range(number):
                await client.create(caller=account)
        client.accounts[creating.user_id] = (
            None
            if creator is None
            else FoundAccount(id=creating.user_id, role=creator, disabled=False)
        )
        request = CanvasRequest(canvas_id=canvas_id)
        if not refused:
            await client.bus.ask(RESTORE_CANVAS, request, caller=caller)
            return
        with pytest.raises(QuotaFull) as error:
            await client.bus.ask(RESTORE_CANVAS, request, caller=caller)
        assert error.value.limit == 2


async def test_simultaneous_restores_by_two_owners_do_not_exceed_the_bound_of_the_creator(
    client: Client, backing: DevStack
) -> None:
    """Proves R-QUOTA-4: of two restores for which the creator has room for one, one succeeds."""
    owners = (user(), user())
    async with replica(backing, quota_account_canvases=1):
        canvases = []
        for owner in owners:
            canvas_id = await client.create()
            await client.set_member(canvas_id, owner.user_id, CanvasRole.OWNER)
            await client.delete(canvas_id)
            canvases.append(canvas_id)
        restores = (
            client.bus.ask(RESTORE_CANVAS, CanvasRequest(canvas_id=canvas_id), caller=owner)
            for canvas_id, owner in zip(canvases, owners, strict=True)
        )
        outcomes = await asyncio.gather(*restores, return_exceptions=True)
        assert [type(each) for each in outcomes].count(QuotaFull) == 1
        assert (await own_use(client, QuotaName.CANVASES, client.me)).used == 1


async def test_simultaneous_restores_of_a_canvas_count_once(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """Proves R-LIFE-10 and R-QUOTA-4: both restores succeed within a bound of one canvas, and there is one event."""
    async with replica(backing, quota_account_canvases=1):
        canvas_id = await client.create()
        await client.delete(canvas_id)
        request = CanvasRequest(canvas_id=canvas_id)
        async with tables.transaction():
            await tables.execute("SELECT FROM canvas WHERE id = $1 FOR UPDATE", canvas_id)
            restores = [
                asyncio.create_task(client.bus.ask(RESTORE_CANVAS, request, caller=client.me))
                for _ in range(2)
            ]
            await until_blocked(tables, 2)
        first, second = await asyncio.gather(*restores)
    assert first == second
    query = "SELECT count(*) FROM event WHERE entity_id = $1 AND type = 'canvas.restored'"
    assert await tables.fetchval(query, canvas_id) == 1


@pytest.mark.usefixtures("_reset")
async def test_most_specific_bound_applies(client: Client, backing: DevStack) -> None:
    """Proves R-QUOTA-5: the bound of the user precedes the bounds of the role, of all accounts and of the settings."""
    someone = user()
    async with replica(backing, quota_account_canvases=7):
        canvas_id = await client.create()
        quotas = await set_quotas(
            client,
            account={"canvases_per_day": 50},
            roles={"viewer": {"canvases_per_day": 5}},
            users={someone.user_id: {"canvases": 3}},
            canvases={canvas_id: {"content_bytes": 9}},
        )
        assert quotas.of_account(someone.user_id, Role.EDITOR).canvases == 3
        assert quotas.of_account(someone.user_id, Role.EDITOR).canvases_per_day == 50
        assert quotas.of_account("other", Role.EDITOR).canvases == 7
        # By default, the settings allow admins ten times as much.
        assert quotas.of_account("other", Role.ADMIN).canvases == 70
        assert quotas.of_account("other", Role.ADMIN).canvases_per_day == 50
        assert quotas.of_account("other", Role.VIEWER).canvases_per_day == 5
        assert quotas.of_canvas(canvas_id).content_bytes == 9
        assert quotas.of_canvas("d").content_bytes == 128 * MIB
        assert await client.bus.ask(GET_QUOTAS, QuotasRequest(), caller=client.me) == quotas


@pytest.mark.usefixtures("_reset")
async def test_new_exception_for_an_unknown_account_or_canvas_is_refused(
    client: Client, backing: DevStack
) -> None:
    """Exceptions that are set already stay, also when the account or the canvas is gone. Proves R-QUOTA-5."""
    someone = user()
    async with quick_replica(backing):
        canvas_id = await client.create()
        users = {someone.user_id: {"canvases": 3}}
        canvases = {canvas_id: {"content_bytes": 9}}
        for wrong, field in (
            ({"users": {**users, "nobody": {}}}, "users.nobody"),
            ({"users": users, "canvases": {**canvases, "none": {}}}, "canvases.none"),
        ):
            with pytest.raises(Invalid) as refused:
                await set_quotas(client, **wrong)
            assert refused.value.field == field
        assert not (await client.bus.ask(GET_QUOTAS, QuotasRequest(), caller=client.me)).users
        await set_quotas(client, users=users, canvases=canvases)
        client.accounts[someone.user_id] = None
        await client.delete(canvas_id)
        request = CanvasRequest(canvas_id=canvas_id)
        assert (await client.bus.ask(PURGE_CANVAS, request, caller=user(Role.ADMIN))).finished
        quotas = await set_quotas(client, users=users, canvases=canvases)
        assert [*quotas.users, *quotas.canvases] == [someone.user_id, canvas_id]


@pytest.mark.usefixtures("_reset")
async def test_accounts_and_canvases_with_own_bounds_are_reported_beside_many_larger_ones(
    client: Client, backing: DevStack, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-QUOTA-5: the bound of a single account or canvas applies, however many others have more bytes.

    Accounts and canvases with higher bounds of their own do not displace the largest of the others.
    """
    monkeypatch.setattr(metrics, "MAX_NAMED", 2)
    ids = ("low", "below", "raised", "first", "second", "third")
    accounts = {each: user().user_id for each in ids}
    sizes = dict(zip(ids, (81, 79, 2**45, 2**44, 2**43, 2**42), strict=True))
    async with quick_replica(backing):
        canvases = {each: await client.create() for each in ids}
        of_content = {each: await client.create() for each in ids}
        day = datetime.now(UTC).date()
        for table, column, rows in (
            ("account_usage", "user_id", accounts),
            ("canvas_usage", "canvas_id", canvases),
        ):
            await tables.executemany(
                f"INSERT INTO {table} (day, {column}, journal_bytes) VALUES ($1, $2, $3)",
                [(day, rows[each], sizes[each]) for each in ids],
            )
        await tables.executemany(
            "INSERT INTO canvas_size (canvas_id, content_bytes) VALUES ($1, $2)",
            [(of_content[each], sizes[each]) for each in ids],
        )
        await tables.executemany(
            "UPDATE canvas SET bytes = $2 WHERE id = $1",
            [(of_content[each], sizes[each]) for each in ids],
        )
        own = {"low": 100, "below": 100, "raised": 2**46}
        day_bounds = {each: {"journal_bytes_per_day": bound} for each, bound in own.items()}
        await set_quotas(
            client,
            users={accounts[each]: bounds for each, bounds in day_bounds.items()},
            canvases={canvases[each]: bounds for each, bounds in day_bounds.items()}
            | {of_content[each]: {"content_bytes": bound} for each, bound in own.items()},
        )
        try:
            report = await client.bus.ask(QUOTA_REPORT, QuotasRequest())
        finally:
            await tables.execute(
                "DELETE FROM account_usage WHERE user_id = ANY ($1)", list(accounts.values())
            )
            for canvas_id in (*canvases.values(), *of_content.values()):
                await tables.execute("DELETE FROM canvas_usage WHERE canvas_id = $1", canvas_id)
                await tables.execute("DELETE FROM canvas_size WHERE canvas_id = $1", canvas_id)
                await tables.execute("UPDATE canvas SET bytes = 0 WHERE id = $1", canvas_id)
    # The limit of the query is higher by the number of own bounds, so the report may also name the third.
    for names, reported in (
        (accounts, report.accounts),
        (canvases, report.canvases),
        (of_content, report.canvases),
    ):
        found = {each for each in ids if names[each] in reported}
        assert found - {"third"} == {"low", "first", "second"}


@pytest.mark.usefixtures("_reset")
async def test_change_of_an_outdated_version_is_refused_and_other_changes_are_broadcast(
    client: Client, backing: DevStack, reports: Reports
) -> None:
    """Proves R-QUOTA-5: an admin cannot overwrite a change without having seen it, and each change is broadcast."""
    async with replica(backing):
        first = await set_quotas(client, account={"canvases": 5})
        second = await set_quotas(client, account={"canvases": 6}, version=first.version)
        changes: list[dict[str, Any]] = [{"account": {"canvases": 7}}, {"users": {"nobody": {}}}]
        for change in changes:
            with pytest.raises(Conflict):
                await set_quotas(client, **change, version=first.version)
        await client.bus.settle()
        assert second in [each.quotas for each in reports.received]


async def test_use_is_shown_to_owners_and_admins(client: Client, backing: DevStack) -> None:
    """Proves R-QUOTA-6: owners read a canvas's use. Admins also read a user's use, and today's largest uses."""
    someone = user()
    async with quick_replica(backing, **NO_COMPACTION):
        canvas_id = await client.create(caller=someone)
        await client.append(entry(canvas_id, 30 * MIB, someone.user_id))
    async with quick_replica(backing, **NO_COMPACTION):
        request = state.CanvasRequest(canvas_id=canvas_id)
        canvas: CanvasUsage = await client.bus.ask(CANVAS_USAGE, request, caller=someone)
        assert [(each.name, each.used) for each in canvas.uses] == [
            (QuotaName.CANVAS_JOURNAL, 30 * MIB),
            (QuotaName.CANVAS_CONTENT, 30 * MIB),
        ]
        admin = user(Role.ADMIN)
        named = UserRequest(user_id=someone.user_id)
        usage = await client.bus.ask(USER_USAGE, named, caller=admin)
        assert usage.role is Role.EDITOR
        assert usage.uses[0].used == 30 * MIB
        with pytest.raises(NotFound):
            await client.bus.ask(USER_USAGE, UserRequest(user_id="nobody"), caller=admin)
        for by, expected in (("accounts", someone.user_id), ("canvases", canvas_id)):
            request_top = TopUsageRequest.model_validate({"by": by, "limit": 200})
            top = await client.bus.ask(TOP_USAGE, request_top, caller=admin)
            assert (expected, 30 * MIB) in [(each.id, each.journal_bytes) for each in top.items]
            sizes = [each.journal_bytes for each in top.items]
            assert sizes == sorted(sizes, reverse=True)


async def test_content_is_measured_again_after_a_compaction(
    client: Client, backing: DevStack, tables: Tables
) -> None:
    """Proves R-QUOTA-2: a full canvas is not reported as full after a compaction has made its content smaller."""
    async with quick_replica(backing, quota_canvas_content_mb=1, **NO_COMPACTION):
        canvas_id = await client.create()
        await client.append(entry(canvas_id, MIB, "user-x"))
    async with quick_replica(backing, quota_canvas_content_mb=1, **NO_COMPACTION):
        report = await client.bus.ask(QUOTA_REPORT, QuotasRequest())
        assert report.canvases[canvas_id].content_bytes == MIB
        # This has the effect of a compaction: no bytes of the journal are left after the snapshot.
        await tables.execute(
            "UPDATE canvas SET snapshot_revision = 1, snapshot_bytes = bytes WHERE id = $1",
            canvas_id,
        )
        report = await client.bus.ask(QUOTA_REPORT, QuotasRequest())
        assert canvas_id not in report.canvases


async def test_counts_survive_a_failure_of_the_database(
    client: Client, backing: DevStack, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-QUOTA-1: counts that could not be stored are stored later."""
    someone, failed = user(), asyncio.Event()
    store = UsageCounter._store

    async def watched(counter: UsageCounter) -> None:
        try:
            await store(counter)
        except Exception:
            failed.set()
            raise

    monkeypatch.setattr(UsageCounter, "_store", watched)
    async with quick_replica(backing):
        canvas_id = await client.create()
        await tables.execute("ALTER TABLE account_usage RENAME TO account_usage_away")
        try:
            await client.append(entry(canvas_id, 100, someone.user_id))
            await client.append(entry(canvas_id, 10, someone.user_id))
            async with asyncio.timeout(20):
                await failed.wait()
        finally:
            await tables.execute("ALTER TABLE account_usage_away RENAME TO account_usage")
    query = "SELECT journal_bytes FROM account_usage WHERE user_id = $1"
    assert await tables.fetchval(query, someone.user_id) == 110


async def test_day_of_new_canvases_has_24_hours_when_summer_time_ends(
    backing: DevStack, client: Client
) -> None:
    """The time zone of the database changes no period: 24.5 hours ago is not in the last day. Proves R-QUOTA-4.

    In this zone, summer time has ended twelve hours ago.
    """
    end = datetime.now(UTC) - timedelta(hours=11)
    day = end.timetuple().tm_yday - 1
    zone = f"STD0DST-1,{(day + 182) % 365},{day}/{end:%H:%M:%S}"
    async with database(backing) as url, tables_of(url) as tables:
        name = await tables.fetchval("SELECT current_database()")
        await tables.execute(f"ALTER DATABASE {name} SET timezone = '{zone}'")
        async with replica(backing, postgres_url=url, quota_account_canvases_per_day=1):
            await client.create()
            with pytest.raises(QuotaExceeded):
                await client.create()
            await tables.execute("UPDATE canvas SET created_at = now() - interval '24.5 hours'")
            await client.create()
