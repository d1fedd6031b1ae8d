"""The check of PostgreSQL: that it is reachable and writable; its version, encoding, migrations, rights and clock."""

import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from svgx_common.database.failures import classify
from svgx_common.database.hosts import Connection, Hosts
from svgx_common.database.migrations import find_applied, migrations_of
from svgx_common.database.monitor import MAY_USE_TABLES
from svgx_common.doctor.certificates import check_file, check_peer, verification_failed
from svgx_common.doctor.clocks import check_clock
from svgx_common.doctor.command import Check
from svgx_common.doctor.findings import Finding, failed, ok, warning

NAME = "postgresql"
OLDEST_VERSION = 15

_RIGHTS = f"""
SELECT has_database_privilege(current_database(), 'CREATE') AS may_create,
    to_regnamespace($1) IS NOT NULL AS exists,
    {MAY_USE_TABLES} AS may_use,
    (
        SELECT relname::text FROM pg_class
        WHERE relnamespace = to_regnamespace($1) AND relkind = 'p'
            AND NOT (pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE'))
        LIMIT 1
    ) AS not_partitionable
"""  # noqa: S608  # a constant is inserted
_SERVER = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer / 10000 AS major,
    pg_encoding_to_char(d.encoding) AS encoding, pg_is_in_recovery() AS in_recovery,
    current_setting('transaction_read_only')::boolean AS read_only,
    current_setting('max_connections')::integer AS max_connections, r.rolconnlimit AS role_limit,
    d.datconnlimit AS database_limit
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user
"""


def database_checks(
    values: Mapping[str, Any], *, schema: str, package: str
) -> dict[str, Check | None]:
    """Return the check of the database, from the values of the settings."""
    needed = ("postgres_url", "database_pool_size", "database_max_overflow")
    if not all(name in values for name in needed):
        return {NAME: None}
    url, *sizes = (values[name] for name in needed)
    return {
        NAME: lambda: check_postgres(url, schema=schema, package=package, connections=sum(sizes))
    }


async def check_postgres(url: str, *, schema: str, package: str, connections: int) -> list[Finding]:
    """Check the database of a `POSTGRES_URL`. `connections` is the largest size of a replica's pool."""
    address = _address(url)
    file_findings = [
        check_file(NAME, value)
        for name, values in parse_qs(urlsplit(url).query).items()
        if name in ("sslcert", "sslrootcert")
        for value in values
    ]
    try:
        connection = await Hosts(url).connect(
            timeout=5.0, command_timeout=5.0, server_settings={"search_path": schema}
        )
    except Exception as error:  # noqa: BLE001  # every error means that there is no connection
        return [_refusal(address, error), *file_findings]
    try:
        return [
            ok(NAME, f"{address} accepts the connection"),
            *await _check_server(connection, connections),
            *await _check_schema(connection, schema, package),
            await _check_clock(connection),
            *check_peer(NAME, _ssl_object(connection)),
            *file_findings,
        ]
    finally:
        connection.terminate()


def _refusal(address: str, error: Exception) -> Finding:
    match error:
        case ssl.SSLError():
            return verification_failed(NAME, error)
        case asyncpg.InvalidAuthorizationSpecificationError():
            fix = "Correct the user and the password in POSTGRES_URL, or those of the role (ALTER ROLE … PASSWORD)."
            return failed(NAME, f"{address} refuses the user or the password", fix)
        case asyncpg.InvalidCatalogNameError():
            fix = "Create the database of POSTGRES_URL (CREATE DATABASE … OWNER …), or correct its name."
            return failed(NAME, f"{address} does not have the database", fix)
        case asyncpg.TargetServerAttributeNotMatched():
            fix = "Promote a standby, or name the primary in POSTGRES_URL: the services write."
            return failed(NAME, f"{address}: no host is a primary", fix)
        case asyncpg.TooManyConnectionsError():
            fix = "Raise max_connections of the server, or lower DATABASE_POOL_SIZE or the number of replicas."
            return failed(NAME, f"{address} accepts no more connections", fix)
    failure = classify(error, connecting=True)
    reason = f"fails: {type(error).__name__}" if failure is None else failure.reason
    fix = "Start PostgreSQL, and check the host and port in POSTGRES_URL and the network policy."
    return failed(NAME, f"{address} {reason}", fix)


async def _check_server(connection: Connection, connections: int) -> list[Finding]:
    row = await connection.fetchrow(_SERVER)
    assert row is not None
    findings = [
        ok(f"{NAME} version", row["version"])
        if row["major"] >= OLDEST_VERSION
        else failed(
            f"{NAME} version",
            f"{row['version']} is too old",
            f"Upgrade the server to PostgreSQL {OLDEST_VERSION} or newer.",
        ),
        ok(f"{NAME} encoding", row["encoding"])
        if row["encoding"] == "UTF8"
        else failed(
            f"{NAME} encoding",
            f"the database has {row['encoding']}",
            "Create a database with ENCODING 'UTF8', and move the data there with pg_dump and pg_restore.",
        ),
    ]
    if row["in_recovery"]:
        fix = "Name the primary in POSTGRES_URL, or promote this server (pg_promote)."
        findings.append(failed(f"{NAME} writes", "the server is a replica in recovery", fix))
    elif row["read_only"]:
        fix = "Set default_transaction_read_only to off for the server, the database and the role."
        findings.append(failed(f"{NAME} writes", "transactions are read-only", fix))
    else:
        findings.append(ok(f"{NAME} writes", "are accepted"))
    limits = [row["max_connections"], row["role_limit"], row["database_limit"]]
    limit = min(each for each in limits if each >= 0)
    needed = connections + 1  # the monitor has a connection of its own
    if needed > limit:
        fix = "Lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW, or raise the limit of the server, role or database."
        detail = f"one replica needs {needed}, the server permits {limit}"
        findings.append(failed(f"{NAME} connections", detail, fix))
    else:
        detail = f"one replica needs {needed} of {limit}"
        findings.append(ok(f"{NAME} connections", detail))
    return findings


async def _check_schema(connection: Connection, schema: str, package: str) -> list[Finding]:
    rights = await connection.fetchrow(_RIGHTS, schema)
    assert rights is not None
    check = f"{NAME} rights"
    if not rights["exists"]:
        if not rights["may_create"]:
            fix = "Grant the role CREATE on the database, or create the schema with the role as its owner."
            return [failed(check, f"the role may not create the schema {schema}", fix)]
        fix = f"Start the service, or run `svgx-{schema} migrate`, to create the schema."
        return [
            ok(check, f"the role may create the schema {schema}"),
            warning(f"{NAME} migrations", f"the schema {schema} does not exist yet", fix),
        ]
    if not rights["may_use"]:
        fix = f"Grant the role USAGE on the schema {schema}, and SELECT, INSERT, UPDATE and DELETE on its tables."
        return [failed(check, f"the role may not use all tables of the schema {schema}", fix)]
    if (table := rights["not_partitionable"]) is not None:
        fix = "Name the role that owns the tables in POSTGRES_URL, or a role that acts as it (ALTER ROLE … SET role)."
        return [failed(check, f"the role may not make and drop partitions of {table}", fix)]
    return [
        ok(check, f"the role may use the schema {schema}"),
        await _check_migrations(connection, schema, package),
    ]


async def _check_migrations(connection: Connection, schema: str, package: str) -> Finding:
    check = f"{NAME} migrations"
    known = [each.name for each in migrations_of(package)]
    applied = await find_applied(connection)
    missing = [each for each in known if each not in applied]
    if missing:
        fix = f"Start a replica of this version, or run `svgx-{schema} migrate`, to apply them."
        return failed(
            check, f"{len(missing)} of {len(known)} are missing; first: {missing[0]}", fix
        )
    if newer := [each for each in applied if each not in known]:
        fix = "Upgrade this service to the version that applied this migration."
        return warning(check, f"{newer[-1]} is from a newer version of the service", fix)
    return ok(check, f"all {len(known)} are applied")


async def _check_clock(connection: Connection) -> Finding:
    sent = time.time()
    at = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    received = time.time()
    return check_clock(NAME, at - (sent + received) / 2, (received - sent) / 2)


def _address(url: str) -> str:
    """Return the hosts of a URL, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2] or "localhost"


def _ssl_object(connection: Connection) -> object:
    transport = getattr(connection, "_transport", None)
    return None if transport is None else transport.get_extra_info("ssl_object")
