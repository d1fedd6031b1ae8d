"""The erasure of a user in the state service."""

import asyncio
import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from svgx_common import postgres
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import Entry
from svgx_common.contract.storage.erasure import ERASE_AUTHOR, EraseAuthorRequest, ErasedAuthor
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call
from svgx_common.postgres import Row, Session
from svgx_devstack import DevStack
from svgx_state.deletion import erasure
from tests.integration.state.service import Client, Tables, user

pytestmark = pytest.mark.usefixtures("service")


def pseudonym_of(user_id: str) -> str:
    """Return the pseudonym that this test gives to a user. It does not contain the id."""
    return f"erased-{hashlib.sha256(user_id.encode()).hexdigest()[:16]}"


async def erase(client: Client, user_id: str, transfer_to: str | None = None) -> ErasedAuthor:
    request = EraseAuthorRequest(
        user_id=user_id, pseudonym=pseudonym_of(user_id), transfer_to=transfer_to
    )
    return await client.bus.ask(ERASE_AUTHOR, request)


async def tables_with(tables: Tables, user_id: str) -> list[str]:
    """Return the tables of the service that contain this user id anywhere."""
    names = await tables.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'state'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition"
    )
    return [
        name
        for (name,) in names
        if await tables.fetchval(
            f'SELECT count(*) FROM "{name}" t WHERE strpos(t::text, $1) > 0', user_id
        )
    ]


async def no_values(_: str) -> int:
    """Delete no values, and return 0."""
    return 0


@pytest.mark.parametrize("transfer", [True, False])
async def test_pseudonym_takes_the_place_of_an_erased_user_everywhere(
    client: Client, tables: Tables, transfer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-12: only the record of the erasure still has the user's id.

    Canvases without another owner are transferred or deleted.
    """
    monkeypatch.setattr(erasure, "STEP_ENTRIES", 3)
    monkeypatch.setattr(erasure, "STEP_CANVASES", 2)
    monkeypatch.setattr(erasure, "STEP_ROWS", 1)
    victim, other, heir = user(), user(), user()
    alone, gone = [await client.create(caller=victim) for _ in range(2)]
    shared, foreign = await client.create(caller=victim), await client.create()
    await client.set_member(shared, other.user_id, CanvasRole.OWNER)
    await client.set_member(foreign, victim.user_id, CanvasRole.EDITOR)
    link = await client.link(shared, victim)
    await tables.execute(
        "INSERT INTO configuration (name, version, value, changed_by) VALUES ($1, 1, '{}', $2)",
        victim.user_id[-12:],
        victim.user_id,
    )
    for canvas_id in (alone, gone, shared, foreign):
        await client.append(
            *(
                Entry(canvas_id, "w", number, authors, b"\0\0")
                for number, authors in enumerate(
                    [(victim.user_id,), (other.user_id, victim.user_id), (other.user_id,)] * 2, 1
                )
            )
        )
    foreign_owner = client.me
    await tables.execute("UPDATE canvas SET deleted_at = clock_timestamp() WHERE id = $1", gone)
    # The service stores the use of quotas at times of its own, so the account may have rows of its use already.
    assert set(await tables_with(tables, victim.user_id)) - {"account_usage"} == {
        *("canvas", "canvas_member", "journal", "share_link", "configuration", "event")
    }
    transfer_to = heir.user_id if transfer else None
    # With steps this short, the canvases of other tests may take more time than one request has.
    while not (done := await erase(client, victim.user_id, transfer_to)).finished:
        pass
    pseudonym = pseudonym_of(victim.user_id)
    expected = {
        "canvas_member": 4,
        "canvas": 3,
        "share_link": 1,
        "configuration": 1,
        "journal": 16,
        **({"canvas_transferred": 2} if transfer else {"canvas_deleted": 1}),
    }
    assert done.touched.pop("event") > 0
    done.touched.pop("account_usage", None)  # the counts of usage may be stored by then
    assert done.touched == expected
    # The erasure's record keeps the user's id until the last pass. Counts of usage may be stored after the erasure.
    assert set(await tables_with(tables, victim.user_id)) - {"account_usage"} == {"erasure"}
    authors = await tables.fetch(
        "SELECT authors FROM journal WHERE canvas_id = $1 ORDER BY revision", shared
    )
    assert [row["authors"] for row in authors] == [
        [pseudonym],
        [other.user_id, pseudonym],
        [other.user_id],
    ] * 2
    assert await client.access(shared, other) is CanvasRole.OWNER
    assert await client.access(foreign, foreign_owner) is CanvasRole.OWNER
    deleted = await tables.fetchval("SELECT deleted_at FROM canvas WHERE id = $1", alone)
    assert (deleted is None) is transfer
    if transfer:
        assert await client.access(alone, heir) is CanvasRole.OWNER
        events = await tables.fetch(
            "SELECT data ->> 'user_id' AS user_id, data ->> 'role' AS role FROM event"
            " WHERE type = 'member.changed' AND data ->> 'canvas_id' = $1",
            alone,
        )
        assert [tuple(row) for row in events] == [(heir.user_id, "owner")]
    assert link.created_by == victim.user_id


async def test_repeated_erasure_changes_nothing_more(client: Client, tables: Tables) -> None:
    """Proves R-LIFE-13: the second report is equal to the first, and the user's id is kept for the last pass."""
    victim = user()
    canvas_id = await client.create(caller=victim)
    await client.append(Entry(canvas_id, "w", 1, (victim.user_id,), b"\0\0"))
    first = await erase(client, victim.user_id)
    again = await erase(client, victim.user_id)
    for each in (first, again):
        assert each.finished
        each.touched.pop("account_usage", None)  # the counts of usage may be stored by then
    assert first == again
    stored = await tables.fetchrow(
        "SELECT user_id, finished_at FROM erasure WHERE pseudonym = $1",
        pseudonym_of(victim.user_id),
    )
    assert stored is not None
    assert stored["user_id"] == victim.user_id
    assert stored["finished_at"] is not None


_ADD_DELIVERY = """
    WITH hook AS (
        INSERT INTO webhook (id, url, types, note, active, secret, created_by)
        VALUES (gen_random_uuid(), 'http://127.0.0.1:9/', '{}', '', false, 's', 'a') RETURNING id
    ), happened AS (
        INSERT INTO event (id, type, service, entity_id, data, relayed_at)
        VALUES (gen_random_uuid(), '%s', 'auth', $1, '{}', now()) RETURNING id
    )
    INSERT INTO webhook_delivery (id, webhook_id, event_id, entity_id, status)
    SELECT gen_random_uuid(), hook.id, happened.id, $1, 'delivered' FROM hook, happened
"""

_ADD_CONFIGURATION = """
    INSERT INTO configuration (name, version, value, changed_by)
    VALUES ('%s of ' || right($1, 12), 7, jsonb_build_object('users', %s), 'a')
"""
_ADD_RESTORE = """
    INSERT INTO restore (id, backup_id, status, requested_by, error)
    VALUES (gen_random_uuid(), 'b', 'partial', 'a', 'accounts that were not added: x (email), ' || $1 || ' (username)')
"""
_ADD_ERASURE = """
    INSERT INTO erasure (pseudonym, user_id, transfer_to) VALUES (gen_random_uuid(), gen_random_uuid(), $1)
"""

PLACES: dict[str, tuple[str, set[str]]] = {
    "a key in a configuration": (
        _ADD_CONFIGURATION % ("key", "jsonb_build_object($1, 1)"),
        {"configuration"},
    ),
    "a value in a configuration": (
        _ADD_CONFIGURATION % ("value", "jsonb_build_array($1)"),
        {"configuration"},
    ),
    "an account that a restore could not add": (_ADD_RESTORE, {"restore"}),
    "the new owner of another user's canvases": (_ADD_ERASURE, {"erasure"}),
    "a canvas that was removed for good": (
        "INSERT INTO purged_canvas (canvas_id, created_by, created_at) VALUES (gen_random_uuid(), $1, now())",
        {"purged_canvas"},
    ),
    "the admin in an event of an erasure": (
        """
        INSERT INTO event (id, type, service, entity_id, actor, data)
        VALUES (gen_random_uuid(), 'user.erased', 'auth', 'another user', $1, '{}')
        """,
        {"event"},
    ),
    "an event and its delivery": (_ADD_DELIVERY % "user.updated", {"event", "webhook_delivery"}),
}
"""Statements that add the user id $1 to the service's tables, each with the tables that then have the id."""


@pytest.mark.parametrize("place", PLACES)
async def test_user_id_is_erased_in_each_place_that_names_it(
    client: Client, tables: Tables, place: str
) -> None:
    """Proves R-LIFE-12: a pseudonym replaces an id inside of a value or a text, and in a webhook's deliveries."""
    victim = user()
    statement, places = PLACES[place]
    await tables.execute(statement, victim.user_id)
    assert set(await tables_with(tables, victim.user_id)) == places
    assert (await erase(client, victim.user_id)).finished
    await tables.execute(
        "UPDATE erasure SET user_id = NULL WHERE pseudonym = $1", pseudonym_of(victim.user_id)
    )
    assert await tables_with(tables, victim.user_id) == []


async def test_erasure_of_an_id_in_a_configuration_is_a_new_version(
    client: Client, tables: Tables
) -> None:
    """Proves R-LIFE-12: a value that an admin read before the erasure cannot be stored again, with the user's id."""
    victim = user()
    await tables.execute(PLACES["a key in a configuration"][0], victim.user_id)
    await erase(client, victim.user_id)
    stored = await tables.fetchrow(
        "SELECT version, value::text AS value FROM configuration WHERE name = $1",
        f"key of {victim.user_id[-12:]}",
    )
    assert stored is not None
    assert stored["version"] == 8
    assert json.loads(stored["value"]) == {"users": {pseudonym_of(victim.user_id): 1}}


async def test_deliveries_of_the_erasure_itself_keep_the_id(client: Client, tables: Tables) -> None:
    """Proves R-LIFE-12: receivers of `user.erased` find the data that they erase by the user's id."""
    victim = user()
    await tables.execute(_ADD_DELIVERY % "user.erased", victim.user_id)
    await erase(client, victim.user_id)
    found = set(await tables_with(tables, victim.user_id))
    assert found == {"erasure", "event", "webhook_delivery"}


@pytest.mark.parametrize("new_owner", ["none", "active", "erased"])
@pytest.mark.parametrize("asked_again", [False, True])
async def test_membership_that_was_committed_late_ends_with_a_later_pass(
    client: Client, tables: Tables, backing: DevStack, new_owner: str, asked_again: bool
) -> None:
    """Proves R-LIFE-12 and R-LIFE-13: requests of the user that were carried out late leave no membership.

    Canvases without another owner go to the new owner of the first request. Without a new owner, or after the new
    owner was erased too, they are deleted.
    """
    victim, heir = user(), user()
    transfer_to = None if new_owner == "none" else heir.user_id
    shared = await client.create()
    assert (await erase(client, victim.user_id, transfer_to)).finished
    own = await client.create(caller=victim)
    await client.set_member(shared, victim.user_id, CanvasRole.EDITOR)
    if new_owner == "erased":
        assert (await erase(client, heir.user_id)).finished
    if asked_again:
        done = await erase(client, victim.user_id)
        assert done.finished
        assert done.touched["canvas_member"] == 2
        assert set(await tables_with(tables, victim.user_id)) == {"erasure"}
    await tables.execute(
        "UPDATE erasure SET finished_at = finished_at - interval '2 hours' WHERE user_id = $1",
        victim.user_id,
    )
    async with postgres.connect(
        backing.postgres_url, schema="state", package="svgx_state", pool_size=2
    ) as database:
        await erasure.Erasure(client.bus, database, no_values).close_due()
    assert await tables_with(tables, victim.user_id) == []
    deleted = await tables.fetchval("SELECT deleted_at FROM canvas WHERE id = $1", own)
    assert (deleted is None) is (new_owner == "active")
    expected = ["canvas_member", "event"] if new_owner == "active" else []
    if new_owner == "erased":
        expected = ["erasure"]
    assert await tables_with(tables, heir.user_id) == expected
    stored = await tables.fetchrow(
        "SELECT user_id, transfer_to FROM erasure WHERE pseudonym = $1",
        pseudonym_of(victim.user_id),
    )
    assert stored is not None
    assert dict(stored) == {"user_id": None, "transfer_to": None}


async def test_steps_of_an_erasure_in_the_journal_do_not_search_the_other_tables(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-13: with many canvases, an erasure searches each other table twice, and not in each step."""
    searches: Counter[str] = Counter()

    def counted(table: str, erase_rows: erasure.EraseRows) -> tuple[str, erasure.EraseRows]:
        async def count(session: Session, *arguments: Any) -> Row | None:
            searches[table] += 1
            return await erase_rows(session, *arguments)

        return table, count

    tables = tuple(counted(*each) for each in erasure.ERASED_TABLES)
    monkeypatch.setattr(erasure, "ERASED_TABLES", tables)
    monkeypatch.setattr(erasure, "STEP_CANVASES", 2)
    victim = user()
    for _ in range(10):
        canvas_id = await client.create()
        await client.append(Entry(canvas_id, "w", 1, (victim.user_id,), b"\0\0"))
    while not (done := await erase(client, victim.user_id)).finished:
        pass
    assert done.touched["journal"] == 10
    # Counts of usage may be stored during the erasure. A step that deletes a count is one more search.
    assert searches["version"] == 2 + done.touched.get("account_usage", 0)


@pytest.mark.parametrize("requests_before", [1, 2, 3])
async def test_later_request_erases_the_tables_before_the_journal(
    client: Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, requests_before: int
) -> None:
    """Proves R-LIFE-13: a request that ends before it has read the whole journal has erased the other tables.

    The second and the third request before it end within the journal.
    """
    victim = user()
    for _ in range(8):
        await client.create()
    assert (await erase(client, victim.user_id)).finished
    await tables.execute("UPDATE canvas SET updated_at = clock_timestamp()")
    monkeypatch.setattr(erasure, "STEP_CANVASES", 2)
    monkeypatch.setattr(erasure, "WORK_SECONDS", -1.0)  # each request does one step
    for _ in range(requests_before - 1):
        assert (await erase(client, victim.user_id)).finished
    await tables.execute(PLACES["a key in a configuration"][0], victim.user_id)
    assert (await erase(client, victim.user_id)).finished
    assert set(await tables_with(tables, victim.user_id)) == {"erasure"}


@pytest.mark.parametrize("asked_again", [False, True])
async def test_edit_that_was_committed_late_is_erased_by_the_last_pass(
    client: Client,
    tables: Tables,
    backing: DevStack,
    asked_again: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves R-LIFE-13: the last pass runs in the background or by a request. Then the user's id is deleted.

    A request within an hour after the first pass, or shortly after an outage, also erases rows, but keeps the id. The
    last pass looks at all canvases, even if an earlier pass stopped in the middle.
    """
    victim = user()
    canvas_id, old = [await client.create() for _ in range(2)]
    await client.append(
        *(Entry(each, "w", 1, (victim.user_id,), b"\0\0") for each in (canvas_id, old))
    )
    assert (await erase(client, victim.user_id)).finished
    await client.append(Entry(canvas_id, "w", 2, (victim.user_id,), b"\0\0"))
    async with postgres.connect(
        backing.postgres_url, schema="state", package="svgx_state", pool_size=2
    ) as database:
        handler = erasure.Erasure(client.bus, database, no_values)
        await handler.close_due()
        assert "erasure" in await tables_with(tables, victim.user_id)  # too early for the last pass
        assert (await erase(client, victim.user_id)).touched["journal"] == 3
        assert "erasure" in await tables_with(tables, victim.user_id)
        await client.append(Entry(canvas_id, "w", 3, (victim.user_id,), b"\0\0"))
        await tables.execute(
            "UPDATE erasure SET finished_at = finished_at - interval '2 hours', canvas_id = 'zzz' WHERE user_id = $1",
            victim.user_id,
        )
        if asked_again:
            request = EraseAuthorRequest(
                user_id=victim.user_id, pseudonym=pseudonym_of(victim.user_id)
            )
            # This new handler, like a replica after an outage, does not know whether PostgreSQL has answered for
            # `SETTLED_SECONDS`. Edits may still wait for their commit, so this request keeps the id.
            assert (await handler.erase(request, Call(None, 0.0))).finished
            assert "erasure" in await tables_with(tables, victim.user_id)
            monkeypatch.setattr(erasure, "PERIOD_SECONDS", 0.01)
            monkeypatch.setattr(erasure, "SETTLED_SECONDS", 3600.0)
            await handler.close_later()
            assert "erasure" in await tables_with(tables, victim.user_id)
            await tables.execute(
                "UPDATE erasure SET canvas_id = 'zzz' WHERE user_id = $1", victim.user_id
            )
            monkeypatch.setattr(erasure, "SETTLED_SECONDS", 0.0)
            assert (await handler.erase(request, Call(None, 0.0))).touched["journal"] == 4
        else:
            await handler.close_due()
    # The counts of usage may be stored later.
    assert set(await tables_with(tables, victim.user_id)) <= {"account_usage"}


async def test_interrupted_erasure_continues_at_its_position(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-LIFE-13: each request does a part of the work, and the requests together report each row once."""
    monkeypatch.setattr(erasure, "WORK_SECONDS", -1.0)
    monkeypatch.setattr(erasure, "STEP_ENTRIES", 50)
    victim = user()
    canvas_id = await client.create(caller=victim)
    await client.append(
        *(Entry(canvas_id, "w", number, (victim.user_id,), b"\0\0") for number in range(1, 200))
    )
    requests, done = 0, None
    while done is None or not done.finished:
        done = await erase(client, victim.user_id)
        requests += 1
    assert requests > 4
    assert done.touched["journal"] == 199


async def test_edits_are_committed_during_an_erasure(
    client: Client, tables: Tables, backing: DevStack
) -> None:
    """Proves R-LIFE-13: an append does not wait for a step of the erasure, which changes older entries."""
    victim = user()
    canvas_id = await client.create()
    entries = [Entry(canvas_id, "w", number, (victim.user_id,), b"\0\0") for number in range(1, 9)]
    await client.append(*entries)
    async with tables.transaction():
        # The state of the tables in the middle of a step: its transaction is not committed yet.
        await tables.execute(
            "UPDATE journal SET authors = array_replace(authors, $1, 'p') WHERE canvas_id = $2",
            victim.user_id,
            canvas_id,
        )
        async with asyncio.timeout(5):
            (committed,) = await client.append(Entry(canvas_id, "w", 9, ("b",), b"\0\0"))
            assert committed.revision == 9
            assert (await client.load(canvas_id)).revision == 9


async def test_changed_roles_are_announced_after_an_erasure(
    backing: DevStack, client: Client
) -> None:
    """Proves R-LIFE-12: each canvas that the user left is announced, so that the gateways check the roles on it."""
    victim = user()
    canvas_id = await client.create(caller=victim)
    heard: asyncio.Queue[str] = asyncio.Queue()
    bus = await Bus.connect(backing.nats_url("operator"), "gateway", "listener")

    async def hear(subject: str, _: bytes) -> None:
        heard.put_nowait(subject.split(".")[2])

    try:
        await bus.listen("svgx.canvas.*.access", hear)
        await bus.settle()
        await erase(client, victim.user_id)
        async with asyncio.timeout(10):
            assert await heard.get() == canvas_id
    finally:
        await bus.close()


KEPT_COLUMNS = {
    "erasure.user_id": "empty after the last pass",
    "canvas_member.user_id": "the user leaves its canvases before the other tables are erased",
    "journal.authors": "erased canvas by canvas",
    "stored_value.owner": "deleted with the user's values in all stores, by `erase_values`",
    "backup_object.entry": "exists only while the backup runs",
}
"""Columns that name users and have no entry in `ERASED_TABLES`, each with the reason."""

USER_COLUMNS = (
    *("user_id", "owner", "owner_id", "author", "authors", "account_id", "actor_id"),
    *("actor", "entity_id", "transfer_to"),
)
"""Columns with these names, and columns with names that end with `_by`, name users. JSON columns may name users."""


async def test_every_column_that_names_a_user_is_erased(tables: Tables) -> None:
    """Proves R-LIFE-12: a new table or column that names users must take part in the erasure."""
    columns = await tables.fetch(
        "SELECT c.relname AS table, a.attname AS column FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'state'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND a.attnum > 0 AND NOT a.attisdropped"
        " AND (a.attname = ANY ($1::text[]) OR a.attname ~ '_by$' OR a.atttypid = 'jsonb'::regtype)",
        list(USER_COLUMNS),
    )
    named = {f"{row['table']}.{row['column']}" for row in columns}
    erased = {table for table, _ in erasure.ERASED_TABLES}
    missing = {each for each in named if each.split(".")[0] not in erased} - KEPT_COLUMNS.keys()
    assert missing == set(), "add the table to ERASED_TABLES, or the column to KEPT_COLUMNS"
    assert KEPT_COLUMNS.keys() <= named
