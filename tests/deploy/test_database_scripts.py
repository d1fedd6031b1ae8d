"""The scripts that back up and restore the database, run against a real PostgreSQL with its own clients."""

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import psutil
import pytest

from svgx_common import postgres
from svgx_devstack import DevStack
from svgx_devstack.backing import binaries
from tests.deploy.old_postgres import primary_and_standby
from tests.polling import pause

SCRIPTS = Path(__file__).parents[2] / "deploy" / "scripts"
PASSWORD = r"p:a\s s/w@r%d#?&=é "
"""A password with the characters that have a special meaning in URLs, password files and service files."""


SCHEMAS = (("auth", "svgx_auth"), ("state", "svgx_state"))
"""The database schema and the Python package of each service that has tables."""


@dataclass(frozen=True, slots=True)
class Done:
    """The exit status and the output of a script that has ended."""

    status: int
    output: str


class Scripts:
    """The scripts, which use one database and one folder of backups."""

    def __init__(self, folder: Path, url: str, admin_url: str) -> None:
        self.folder = folder
        self.url = url
        self.admin_url = admin_url
        self.stdin = asyncio.subprocess.DEVNULL

    async def start(
        self, name: str, *arguments: str, **variables: str
    ) -> asyncio.subprocess.Process:
        """Start a script in a shell, without the user's environment variables except `PATH`."""
        programs = binaries.postgres("psql").parent
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BACKUP_DIR": str(self.folder),
            "POSTGRES_URL": self.url,
            "TMPDIR": str(self.folder.parent),
            **variables,
        }
        return await asyncio.create_subprocess_exec(
            *("sh", str(SCRIPTS / name), *arguments),
            env=environment,
            stdin=self.stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, name: str, *arguments: str, **variables: str) -> Done:
        """Run a script, and check that it neither prints the password nor leaves files behind."""
        process = await self.start(name, *arguments, **variables)
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        text = output.decode()
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
        assert list(self.folder.parent.glob("svgx-database.*")) == []
        assert process.returncode is not None
        return Done(process.returncode, text)

    async def backup(self, *arguments: str, **variables: str) -> Done:
        """Run the backup script."""
        return await self.run("backup_database.sh", *arguments, **variables)

    async def restore(self, *arguments: str, **variables: str) -> Done:
        """Run the restore script."""
        return await self.run("restore_database.sh", *arguments, **variables)

    def files(self) -> list[Path]:
        """Return the backups, oldest first."""
        return sorted(self.folder.glob("*.dump"))

    async def fetch(self, sql: str) -> list[asyncpg.Record]:
        """Run a statement as the role of the services."""
        connection = await asyncpg.connect(self.url, server_settings={"search_path": "state"})
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()


def _url(admin_url: str, role: str, database: str) -> str:
    address = urlsplit(admin_url)
    account = f"{role}:{quote(PASSWORD, safe='')}"
    return f"postgresql://{account}@{address.hostname}:{address.port}/{database}"


@asynccontextmanager
async def _template(admin_url: str) -> AsyncIterator[str]:
    """Create a role with the password `PASSWORD`, and a database with the tables of both services and some rows.

    Return the name, which the role and the database share.
    """
    name = f"scripts_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
    url = _url(admin_url, name, name)
    for schema, package in SCHEMAS:
        async with postgres.connect(url, schema=schema, package=package, pool_size=1):
            pass
    tools = Scripts(Path(), url, admin_url)
    await tools.fetch(
        "INSERT INTO canvas (id, name, created_by) "
        "SELECT 'c' || n, 'Plan ' || n, 'u' FROM generate_series(1, 500) n"
    )
    await tools.fetch(
        "SELECT append_entries(ARRAY['c1'], ARRAY['w'], ARRAY[n], ARRAY['u'], ARRAY[1], "
        "ARRAY[decode(repeat('ab', 2000), 'hex')]) FROM generate_series(1, 3) n"
    )
    yield name
    await admin.execute(f"DROP DATABASE {name}")
    await admin.execute(f"DROP ROLE {name}")
    assert await admin.fetch("SELECT 1 FROM pg_database WHERE datname LIKE 'svgx_verify_%'") == []
    await admin.close()


@pytest.fixture(scope="module")
async def template(backing: DevStack) -> AsyncIterator[str]:
    """Create a role and a database for `scripts`, and return their name."""
    async with _template(backing.postgres_superuser_url("postgres")) as name:
        yield name


@pytest.fixture
async def scripts(backing: DevStack, template: str, tmp_path: Path) -> AsyncIterator[Scripts]:
    """Copy the template database, and return the scripts for the copy."""
    name = f"scripts_{secrets.token_hex(4)}"
    admin_url = backing.postgres_superuser_url("postgres")
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f"CREATE DATABASE {name} OWNER {template} TEMPLATE {template}")
    yield Scripts(tmp_path / "backups", _url(admin_url, template, name), admin_url)
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.close()


async def contents(scripts: Scripts) -> list[asyncpg.Record]:
    """Return all rows of the canvases and of the journal."""
    return await scripts.fetch("SELECT * FROM state.canvas ORDER BY id") + await scripts.fetch(
        "SELECT * FROM state.journal ORDER BY canvas_id, revision"
    )


async def back_up_and_add_a_canvas(scripts: Scripts) -> list[asyncpg.Record]:
    """Make a backup, add a canvas that a restore would remove, and return all rows."""
    assert (await scripts.backup()).status == 0
    await scripts.fetch(
        "INSERT INTO state.canvas (id, name, created_by) VALUES ('later', 'x', 'u')"
    )
    return await contents(scripts)


async def test_database_is_dumped_dropped_and_restored(scripts: Scripts) -> None:
    """Proves R-DUMP-1: a restore brings back all rows, also on a server without the database."""
    before = await contents(scripts)
    made = await scripts.backup("--verify", POSTGRES_ADMIN_URL=scripts.admin_url)
    assert made.status == 0, made.output
    assert re.search(r"backup completed: .*svgx_backup_\d{8}_\d{6}\.dump, \d+ bytes, ", made.output)
    assert "verified: " in made.output
    (file,) = scripts.files()
    assert file.stat().st_mode & 0o077 == 0
    listed = await scripts.backup("--list")
    assert str(file) in listed.output
    assert re.search(r"\d+ tables, \d+ rows +20\d\d-", listed.output)
    name = urlsplit(scripts.url).path.removeprefix("/")
    admin = await asyncpg.connect(scripts.admin_url)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    refused = await scripts.restore("--yes", "latest")
    assert refused.status == 1, refused.output
    assert "set POSTGRES_ADMIN_URL" in refused.output
    restored = await scripts.restore("--yes", str(file), POSTGRES_ADMIN_URL=scripts.admin_url)
    assert restored.status == 0, restored.output
    assert "as in the manifest" in restored.output
    assert await contents(scripts) == before
    await admin.close()
    # The services start on the restored database: their role owns everything, and no migration is missing.
    for schema, package in SCHEMAS:
        async with postgres.connect(scripts.url, schema=schema, package=package, pool_size=1):
            pass


async def pause_replay(standby_url: str, scripts: Scripts) -> None:
    """Let the standby replay everything until now, and nothing later."""
    position = (await scripts.fetch("SELECT pg_current_wal_insert_lsn()::text"))[0][0]
    standby = await asyncpg.connect(standby_url)
    while not await standby.fetchval(
        "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position
    ):
        await pause()
    await standby.execute("SELECT pg_wal_replay_pause()")
    await standby.close()


async def test_scripts_with_an_old_standby_and_its_primary_use_the_primary(tmp_path: Path) -> None:
    """Proves R-DUMP-1 with PostgreSQL 16, and with an address that names a standby before the primary."""
    async with (
        primary_and_standby(tmp_path / "servers") as (admin_url, standby_url),
        _template(admin_url) as name,
    ):
        url = _url(admin_url, name, name)
        hosts = f"@{urlsplit(standby_url).netloc.rpartition('@')[2]},"
        scripts = Scripts(tmp_path / "backups", url, admin_url)
        several = {
            "POSTGRES_URL": hosts.join(url.rsplit("@", 1)),
            "POSTGRES_ADMIN_URL": hosts.join(admin_url.rsplit("@", 1)),
        }
        await pause_replay(standby_url, scripts)
        before = await contents(scripts)
        made = await scripts.backup("--verify", **several)
        assert made.status == 0, made.output
        assert "verified: " in made.output
        await scripts.fetch("DELETE FROM canvas WHERE id = 'c2'")
        restored = await scripts.restore("--yes", "latest", **several)
        assert restored.status == 0, restored.output
        assert await contents(scripts) == before


async def test_missing_database_is_restored_with_the_second_role(
    scripts: Scripts, template: str
) -> None:
    """Proves R-DUMP-1 with the second role of R-CONFIG-9, which acts as the owner of the tables."""
    before = await contents(scripts)
    assert (await scripts.backup()).status == 0
    database = urlsplit(scripts.url).path[1:]
    second = f"second_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(scripts.admin_url)
    try:
        await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await admin.execute(f"CREATE ROLE {second} LOGIN PASSWORD '{PASSWORD}' IN ROLE {template}")
        await admin.execute(f"ALTER ROLE {second} SET role = '{template}'")
        done = await scripts.restore(
            *("--yes", "latest"),
            POSTGRES_URL=_url(scripts.admin_url, second, database),
            POSTGRES_ADMIN_URL=scripts.admin_url,
        )
        assert done.status == 0, done.output
        assert await contents(scripts) == before
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await admin.execute(f"DROP ROLE {second}")
        await admin.close()


async def test_restore_replaces_later_rows_and_tables(scripts: Scripts) -> None:
    """Proves R-DUMP-1: tables of a newer version are dropped, so that its migrations can run again."""
    assert (await scripts.backup()).status == 0
    before = await contents(scripts)
    await scripts.fetch("DELETE FROM state.journal")
    await scripts.fetch("CREATE TABLE state.newer (id text REFERENCES state.canvas (id))")
    await scripts.fetch(
        "INSERT INTO state.canvas (id, name, created_by) VALUES ('later', 'x', 'u')"
    )
    await scripts.fetch("CREATE TABLE public.foreign_data AS SELECT 1 AS id")
    restored = await scripts.restore("--yes", "latest")
    assert restored.status == 0, restored.output
    assert await contents(scripts) == before
    assert (await scripts.fetch("SELECT to_regclass('state.newer') AS found"))[0]["found"] is None
    assert len(await scripts.fetch("SELECT * FROM public.foreign_data")) == 1


async def test_restore_keeps_the_grants_of_other_roles(scripts: Scripts) -> None:
    """Proves R-DUMP-1: a role without the tables has the same rights on schemas, tables, columns and sequences."""
    role = f"second-{secrets.token_hex(4)}"
    rights = (
        ("has_schema_privilege", "'auth'", "USAGE"),
        ("has_table_privilege", "'auth.session'", "SELECT WITH GRANT OPTION"),
        ("has_table_privilege", "'auth.session'", "DELETE"),
        ("has_table_privilege", "'auth.account'", "SELECT"),
        ("has_column_privilege", "'auth.account', 'id'", "SELECT"),
        ("has_sequence_privilege", "pg_get_serial_sequence('auth.audit', 'id')", "USAGE"),
    )
    calls = (f"{name}('{role}', {target}, '{right}')" for name, target, right in rights)
    question = f"SELECT ARRAY[{', '.join(calls)}] AS found"
    admin = await asyncpg.connect(scripts.admin_url)
    await admin.execute(f'CREATE ROLE "{role}"')
    try:
        assert (await scripts.backup()).status == 0
        await scripts.fetch("CREATE TABLE state.newer (id text)")
        await scripts.fetch("ALTER TABLE auth.account ADD COLUMN newer text")
        for grant in (
            "USAGE ON SCHEMA auth",
            "USAGE ON ALL SEQUENCES IN SCHEMA auth",
            "SELECT (id, newer) ON auth.account",
            "SELECT ON state.newer",
        ):
            await scripts.fetch(f'GRANT {grant} TO "{role}"')
        await scripts.fetch(f'GRANT SELECT ON auth.session TO "{role}" WITH GRANT OPTION')
        before = (await scripts.fetch(question))[0]["found"]
        assert before == [True, True, False, False, True, True]
        done = await scripts.restore("--yes", "latest")
        assert done.status == 0, done.output
        assert (await scripts.fetch(question))[0]["found"] == before
    finally:
        owned = await asyncpg.connect(
            scripts.admin_url.rpartition("/")[0] + urlsplit(scripts.url).path
        )
        await owned.execute(f'DROP OWNED BY "{role}"')
        await owned.close()
        await admin.execute(f'DROP ROLE "{role}"')
        await admin.close()


async def test_damaged_or_foreign_file_is_refused_before_anything_is_changed(
    scripts: Scripts,
) -> None:
    """Proves R-DUMP-2: a restore from a damaged, truncated or foreign file ends with status 3, and changes nothing."""
    before = await back_up_and_add_a_canvas(scripts)
    (file,) = scripts.files()
    content = file.read_bytes()
    manifest = file.with_suffix(".manifest")
    truncated, flipped = content[: len(content) * 9 // 10], bytearray(content)
    flipped[len(content) * 3 // 4] ^= 0xFF
    foreign = scripts.folder / "foreign.dump"
    await scripts.fetch("CREATE SCHEMA other CREATE TABLE thing (id int)")
    dump = await asyncio.create_subprocess_exec(
        *(str(binaries.postgres("pg_dump")), "-Fc", "--schema=other", f"--file={foreign}"),
        scripts.url,
    )
    assert await dump.wait() == 0
    (scripts.folder / "text.dump").write_text("-- a plain dump\nDROP SCHEMA state CASCADE;\n")
    (scripts.folder / "empty.dump").write_bytes(b"")
    for bad in (truncated, bytes(flipped), b"PGDMP", content + b"x"):
        file.write_bytes(bad)
        done = await scripts.restore("--yes", str(file))
        assert done.status == 3, done.output
        assert "checksum" in done.output
        assert (await scripts.backup("--check", str(file))).status == 3
    # Without the manifest, the script reads the whole file, and so finds that it is truncated.
    manifest.rename(manifest.with_suffix(".away"))
    for bad in (truncated, b"PGDMP"):
        file.write_bytes(bad)
        assert (await scripts.restore("--yes", str(file))).status == 3
    for name in ("foreign.dump", "text.dump", "empty.dump", "missing.dump"):
        done = await scripts.restore("--yes", str(scripts.folder / name))
        assert done.status == 3, (name, done.output)
    assert await contents(scripts) == before


async def test_restore_asks_before_it_replaces_anything(scripts: Scripts) -> None:
    """Proves R-DUMP-2: without a terminal, `--yes` is required."""
    before = await back_up_and_add_a_canvas(scripts)
    done = await scripts.restore("latest")
    assert (done.status, "--yes" in done.output) == (2, True)
    assert await contents(scripts) == before


@pytest.mark.parametrize("answer", [b"yes\n", b"\x04"], ids=["another word", "end of file"])
async def test_restore_with_a_wrong_answer_changes_nothing(scripts: Scripts, answer: bytes) -> None:
    """Proves R-DUMP-2: only the name of the database confirms a restore at a terminal."""
    before = await back_up_and_add_a_canvas(scripts)
    terminal, scripts.stdin = os.openpty()
    try:
        os.write(terminal, answer)
        done = await scripts.restore("latest")
    finally:
        os.close(terminal)
        os.close(scripts.stdin)
    assert done.status == 1, done.output
    assert "nothing was changed: the answer is not the name of the database" in done.output
    assert await contents(scripts) == before


async def test_restore_refuses_while_services_are_connected(scripts: Scripts) -> None:
    """Proves R-DUMP-2: the output names the connected service, and nothing is changed."""
    before = await back_up_and_add_a_canvas(scripts)
    service = await asyncpg.connect(scripts.url, server_settings={"application_name": "svgx-state"})
    done = await scripts.restore("--yes", "latest")
    assert done.status == 1
    assert "svgx-state" in done.output
    await service.close()
    assert await contents(scripts) == before


async def test_failed_restore_changes_nothing(scripts: Scripts) -> None:
    """Proves R-DUMP-2: a restore that PostgreSQL refuses half-way is undone, and the output has the reason."""
    before = await back_up_and_add_a_canvas(scripts)
    superuser = await asyncpg.connect(
        scripts.admin_url.rpartition("/")[0] + urlsplit(scripts.url).path
    )
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE 'no index today'; END $$"
    )
    await superuser.execute(
        "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE INDEX') "
        "EXECUTE FUNCTION refuse()"
    )
    await superuser.close()
    done = await scripts.restore("--yes", "latest")
    assert done.status == 1, done.output
    assert "nothing was changed: " in done.output
    assert "no index today" in done.output
    assert await contents(scripts) == before


async def test_stopped_restore_changes_nothing(scripts: Scripts) -> None:
    """Proves R-DUMP-2: a restore that is stopped half-way is undone by PostgreSQL, and leaves no process behind.

    The backup is larger than the buffer of a pipe, so pg_restore waits while psql waits for a lock.
    """
    rows = "SELECT 'large-' || n, repeat('x', 100), 'u' FROM generate_series(1, 2000) n"
    await scripts.fetch(f"INSERT INTO canvas (id, name, created_by) {rows}")
    before = await back_up_and_add_a_canvas(scripts)
    blocking = await asyncpg.connect(
        scripts.admin_url.rpartition("/")[0] + urlsplit(scripts.url).path
    )
    lock = blocking.transaction()
    await lock.start()
    await blocking.execute("LOCK TABLE state.snapshot IN ACCESS SHARE MODE")
    process = await scripts.start("restore_database.sh", "--yes", "latest")
    while not await blocking.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    ):
        await pause()
    process.send_signal(signal.SIGTERM)
    output, _ = await process.communicate()
    assert process.returncode == 143, output
    await lock.rollback()
    await blocking.close()
    assert await contents(scripts) == before


async def test_password_is_in_no_argument_while_a_backup_runs(scripts: Scripts) -> None:
    """Proves R-DUMP-3: the list of processes shows no password, and a stopped backup leaves no file."""
    blocking = await asyncpg.connect(
        scripts.admin_url.rpartition("/")[0] + urlsplit(scripts.url).path
    )
    lock = blocking.transaction()
    await lock.start()
    await blocking.execute("LOCK TABLE state.snapshot IN ACCESS EXCLUSIVE MODE")
    process = await scripts.start("backup_database.sh")
    while not await blocking.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    ):
        await pause()
    commands = [each.cmdline() for each in psutil.Process(process.pid).children(recursive=True)]
    assert any("psql" in part for command in commands for part in command)
    texts = [" ".join(command) for command in commands]
    assert not any(PASSWORD in text or quote(PASSWORD, safe="") in text for text in texts)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 143
    await lock.rollback()
    await blocking.close()
    assert list(scripts.folder.iterdir()) == []
    assert list(scripts.folder.parent.glob("svgx-database.*")) == []


async def test_verification_that_is_stopped_while_it_counts_leaves_no_database(
    scripts: Scripts, template: str
) -> None:
    """Proves R-DUMP-3: SIGTERM ends the comparison of the row counts at once, and the scratch database is dropped.

    The policy applies to the role that owns the scratch database, and not to the superuser that makes the dump.
    """
    for statement in (
        "CREATE TABLE state.slow AS SELECT 1 AS id",
        "ALTER TABLE state.slow ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY slow ON state.slow USING (pg_sleep(600) IS NOT NULL)",
    ):
        await scripts.fetch(statement)
    superuser_url = scripts.admin_url.rpartition("/")[0] + urlsplit(scripts.url).path
    made = await scripts.backup(POSTGRES_URL=superuser_url)
    assert made.status == 0, made.output
    admin = await asyncpg.connect(scripts.admin_url)
    await admin.execute(f"ALTER ROLE {template} CREATEDB")
    try:
        process = await scripts.start("backup_database.sh", "--check", "latest")
        async with asyncio.timeout(60):
            while not await admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'svgx_verify_%' AND wait_event = 'PgSleep'"
            ):
                await pause()
            process.send_signal(signal.SIGTERM)
            output, _ = await process.communicate()
        assert process.returncode == 143, output
        left = await admin.fetch("SELECT 1 FROM pg_database WHERE datname LIKE 'svgx_verify_%'")
        assert left == []
    finally:
        await admin.execute(f"ALTER ROLE {template} NOCREATEDB")
        await admin.close()


async def test_verification_drops_the_unused_databases_of_killed_ones(scripts: Scripts) -> None:
    """Proves R-DUMP-3: a scratch database is dropped when it is older than a day and no session uses it."""
    assert (await scripts.backup()).status == 0
    killed, used = "svgx_verify_20240101_000000_1", "svgx_verify_20240101_000000_2"
    young = f"svgx_verify_{datetime.now(UTC) - timedelta(hours=23):%Y%m%d_%H%M%S}_3"
    foreign = "svgx_verify_20240101"
    admin = await asyncpg.connect(scripts.admin_url)
    for name in (killed, used, young, foreign):
        await admin.execute(f"CREATE DATABASE {name}")
    session = await asyncpg.connect(scripts.admin_url.rpartition("/")[0] + f"/{used}")
    try:
        done = await scripts.backup("--check", "latest", POSTGRES_ADMIN_URL=scripts.admin_url)
        assert done.status == 0, done.output
        assert f"dropped the old scratch database {killed}" in done.output
        rows = await admin.fetch(
            "SELECT datname FROM pg_database WHERE datname LIKE 'svgx_verify_%'"
        )
        assert {row["datname"] for row in rows} == {used, young, foreign}
    finally:
        await session.close()
        for name in (killed, used, young, foreign):
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def test_old_backups_are_deleted_by_age_and_number(scripts: Scripts) -> None:
    """Proves R-DUMP-4: old backups are deleted after a new one is complete, and the newest `BACKUP_KEEP_MIN` stay."""

    def add(*stamps: str) -> None:
        scripts.folder.mkdir(exist_ok=True)
        for stamp in stamps:
            (scripts.folder / f"svgx_backup_{stamp}.dump").write_text("")
            (scripts.folder / f"svgx_backup_{stamp}.manifest").write_text("")

    add("20240101_000000", "20240102_000000", "20240103_000000")
    (scripts.folder / "svgx_backup_notes.dump").write_text("not ours")
    (scripts.folder / "other_20240101_000000.dump").write_text("not ours")
    failed = await scripts.backup(POSTGRES_URL=scripts.url + "_unknown")
    assert failed.status == 1, failed.output
    assert len(scripts.files()) == 5
    done = await scripts.backup(BACKUP_KEEP_DAYS="7", BACKUP_KEEP_MIN="2")
    assert done.status == 0, done.output
    kept = [each.stem for each in scripts.files() if each.stem[12:14] == "20"]
    assert kept[0] == "svgx_backup_20240103_000000"
    assert len(kept) == 2
    assert len(list(scripts.folder.glob("*.manifest"))) == 2
    add("20240104_000000", "20991231_000000")
    done = await scripts.backup(BACKUP_KEEP_DAYS="0", BACKUP_KEEP_MIN="1", BACKUP_KEEP_MAX="2")
    assert done.status == 0, done.output
    kept = [each.stem for each in scripts.files() if each.stem[12:14] == "20"]
    assert len(kept) == 2
    assert kept[-1] == "svgx_backup_20991231_000000"
    assert (scripts.folder / "svgx_backup_notes.dump").exists()


async def test_old_backup_is_deleted_by_its_age_also_below_the_largest_number(
    scripts: Scripts,
) -> None:
    """Proves R-DUMP-4: a largest number of backups does not keep backups that are older than `BACKUP_KEEP_DAYS`."""
    scripts.folder.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    for age in (1, 6, 8, 9):
        name = f"svgx_backup_{now - timedelta(days=age):%Y%m%d_%H%M%S}"
        (scripts.folder / f"{name}.dump").write_text("")
    done = await scripts.backup(BACKUP_KEEP_DAYS="7", BACKUP_KEEP_MIN="1", BACKUP_KEEP_MAX="10")
    assert done.status == 0, done.output
    assert len([each for each in scripts.files() if each.suffix == ".dump"]) == 3


@pytest.mark.parametrize(("setting", "days"), [("010", 10), ("08", 8)])
async def test_days_with_leading_zeros_are_decimal(
    scripts: Scripts, setting: str, days: int
) -> None:
    """Proves R-DUMP-4: the shell does not read `010` as eight days, which would delete younger backups."""
    now = datetime.now(UTC)
    kept, deleted = (
        scripts.folder / f"svgx_backup_{now - timedelta(days=age):%Y%m%d_%H%M%S}.dump"
        for age in (days - 1, days + 1)
    )
    scripts.folder.mkdir()
    for file in (kept, deleted):
        file.write_text("")
    done = await scripts.backup(BACKUP_KEEP_DAYS=setting, BACKUP_KEEP_MIN="0")
    assert done.status == 0, done.output
    assert (kept.exists(), deleted.exists()) == (True, False)


async def test_verification_finds_row_counts_that_differ(scripts: Scripts) -> None:
    """Proves R-DUMP-4: `--check` compares the row counts of all tables, and prints the tables that differ."""
    assert (await scripts.backup()).status == 0
    (manifest,) = scripts.folder.glob("*.manifest")
    text = manifest.read_text()
    assert "table 500 state.canvas\n" in text
    manifest.write_text(text.replace("table 500 state.canvas", "table 501 state.canvas"))
    without_admin_url = await scripts.backup("--check", "latest")
    assert without_admin_url.status == 3
    assert "POSTGRES_ADMIN_URL" in without_admin_url.output
    done = await scripts.backup("--check", "latest", POSTGRES_ADMIN_URL=scripts.admin_url)
    assert done.status == 3
    assert "501 state.canvas" in done.output
    manifest.write_text(text)
    done = await scripts.backup("--check", "latest", POSTGRES_ADMIN_URL=scripts.admin_url)
    assert done.status == 0, done.output


async def test_simultaneous_backups_get_different_names(scripts: Scripts) -> None:
    """Proves R-DUMP-4: backups that begin in the same second are all kept."""
    running = [await scripts.start("backup_database.sh") for _ in range(3)]
    async with asyncio.timeout(60):
        outputs = await asyncio.gather(*(each.communicate() for each in running))
    assert [each.returncode for each in running] == [0, 0, 0], outputs
    assert len(scripts.files()) == 3
    assert len(list(scripts.folder.iterdir())) == 6


async def test_backup_is_consistent_while_rows_are_written(scripts: Scripts) -> None:
    """Proves R-DUMP-1: the manifest counts exactly the rows of the dump, although rows are written meanwhile."""
    stopped = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            await scripts.fetch(
                f"INSERT INTO state.canvas (id, name, created_by) VALUES ('w{number}', 'x', 'u')"
            )

    writing = asyncio.create_task(write())
    made = await scripts.backup(BACKUP_VERIFY="true", POSTGRES_ADMIN_URL=scripts.admin_url)
    stopped.set()
    await writing
    assert made.status == 0, made.output
    assert "verified: " in made.output


@pytest.mark.parametrize(
    ("script", "arguments", "variables"),
    [
        ("backup_database.sh", ("--unknown",), {}),
        ("backup_database.sh", ("--check",), {}),
        ("backup_database.sh", (), {"POSTGRES_URL": ""}),
        ("backup_database.sh", (), {"POSTGRES_URL": "mysql://a:b@c/d"}),
        ("backup_database.sh", (), {"BACKUP_KEEP_DAYS": "week"}),
        ("backup_database.sh", (), {"BACKUP_KEEP_MIN": "-1"}),
        ("backup_database.sh", (), {"BACKUP_KEEP_MIN": "5", "BACKUP_KEEP_MAX": "2"}),
        ("restore_database.sh", (), {}),
        ("restore_database.sh", ("a", "b"), {}),
        ("restore_database.sh", ("--no",), {}),
        ("restore_database.sh", ("a",), {"POSTGRES_URL": ""}),
    ],
)
async def test_wrong_arguments_and_settings_end_with_status_two(
    tmp_path: Path, script: str, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    """Proves R-DUMP-3: a script with wrong arguments or settings does nothing, and prints the reason."""
    scripts = Scripts(tmp_path / "backups", "postgresql://a:b@127.0.0.1:1/c", "")
    done = await scripts.run(script, *arguments, **variables)
    assert done.status == 2, done.output
    assert done.output
    assert not scripts.folder.exists()


def test_scripts_have_no_findings_of_shellcheck() -> None:
    """shellcheck checks each script for the shell in its first line."""
    program = Path(sys.executable).with_name("shellcheck")
    files = sorted(str(each) for each in SCRIPTS.glob("*.sh"))
    assert len(files) >= 5
    done = subprocess.run(
        [str(program), "--external-sources", f"--source-path={SCRIPTS.parents[1]}", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
