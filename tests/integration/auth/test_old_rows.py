"""The removal of old rows of auth's tables."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncpg
import pytest

from svgx_auth.api_keys import ApiKeys
from svgx_auth.oidc.sign_ins import SignIns
from svgx_auth.passwords.attempts import Attempts
from svgx_auth.passwords.home_networks import HomeNetworks
from svgx_auth.sessions import Sessions
from svgx_common import postgres
from svgx_common.postgres import Database
from svgx_devstack import DevStack

SCHEMA = "auth_old_rows"
ROWS = 12_000
"""More rows than one statement removes."""

NOTHING: Any = cast(Any, None)
"""A part that the removal does not use."""


def sessions(database: Database) -> Sessions:
    return Sessions(
        database,
        NOTHING,
        NOTHING,
        NOTHING,
        NOTHING,
        secret="secret",
        other_secret="",
        access_seconds=60,
        session_seconds=60,
        idle_seconds=60,
    )


REMOVALS: dict[str, tuple[str, Callable[[Database], Awaitable[None]]]] = {
    "session": (
        (
            "(id, account_id, expires_at, access_until, idle_until)"
            " SELECT n, 'ann', '2020-02-02', '2020-02-02', '2020-02-02'::timestamptz"
        ),
        lambda database: sessions(database).remove_old(),
    ),
    "refresh_token": (
        "(hash, session_id) SELECT n::text::bytea, 'old'",
        lambda database: sessions(database).remove_old(),
    ),
    "api_key": (
        (
            "(id, account_id, name, prefix, hash, role, expires_at)"
            " SELECT n, 'ann', '', '', n::text::bytea, 'viewer', '2020-02-02'::timestamptz"
        ),
        lambda database: ApiKeys(database, NOTHING, NOTHING).remove_old(),
    ),
    "attempt": (
        "(key, failures, last_at) SELECT n, 1, '2020-02-02'::timestamptz",
        lambda database: Attempts(database, "secret").remove_old(),
    ),
    "home": (
        "(account_id, network, last_used_at) SELECT 'ann', n, '2020-02-02'::timestamptz",
        lambda database: HomeNetworks(database).remove_old(),
    ),
    "oidc_sign_in": (
        (
            "(state, provider, browser, expires_at)"
            " SELECT n::text::bytea, 'provider', '', '2020-02-02'::timestamptz"
        ),
        lambda database: SignIns(database, [], "https://example.org", "secret").remove_old(),
    ),
}
"""By table: the columns and values of the old rows, and the removal."""


_OLD_SESSION = """
    INSERT INTO session (id, account_id, expires_at, access_until, idle_until)
    VALUES ('old', 'ann', '2020-02-02', '2020-02-02', '2020-02-02')
"""
_BOUNDED_DELETION = """
    CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT count(*) FROM gone) > 10000 THEN RAISE 'one statement removes too many rows'; END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_many AFTER DELETE ON {} REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_many()
"""


@pytest.mark.parametrize("table", REMOVALS)
async def test_all_old_rows_are_removed_in_one_run(backing: DevStack, table: str) -> None:
    """A table does not grow, however many rows become old between two runs. No statement removes all of them.

    Proves R-AUTH-13 and R-AUTH-37.
    """
    values, remove_old = REMOVALS[table]
    async with postgres.connect(
        backing.postgres_url, schema=SCHEMA, package="svgx_auth", pool_size=1
    ) as database:
        tables = await asyncpg.connect(
            backing.postgres_url, server_settings={"search_path": SCHEMA}
        )
        try:
            await tables.execute(
                "INSERT INTO account (id, username, email, role) VALUES ('ann', 'ann', 'ann', 'viewer')"
            )
            await tables.execute(_OLD_SESSION)
            await tables.execute(_BOUNDED_DELETION.format(table))
            await tables.execute(f"INSERT INTO {table} {values} FROM generate_series(1, {ROWS}) n")
            await remove_old(database)
            assert await tables.fetchval(f"SELECT count(*) FROM {table}") == 0
        finally:
            await tables.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
            await tables.close()
