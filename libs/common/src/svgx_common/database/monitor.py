"""A check every second that PostgreSQL can be used: that it answers, accepts writes and allows use of the tables."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from svgx_common.database.failures import PERMISSIONS, READ_ONLY, SILENT, Failure, classify
from svgx_common.database.hosts import SERVER_SETTINGS, Connection
from svgx_common.timing.bounded_wait import wait_at_most

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 1.0
"""Seconds between two checks while PostgreSQL can be used."""

RETRY_SECONDS = 0.5
"""Seconds between two checks while PostgreSQL cannot be used."""

ANSWER_SECONDS = 1.5
"""Seconds of each wait for an answer. The monitor waits twice, because a pause of this process could hide an answer."""

RECONNECT_SECONDS = 30.0
"""Age in seconds at which the monitor replaces its connection. A new one shows that the server accepts connections."""

OUTAGE_SECONDS = 10.0
"""Time in seconds during which PostgreSQL counts as not usable after a statement's failure with `outage`.

A successful write ends this time early.
"""

MAY_USE_TABLES = """(
    coalesce(has_schema_privilege(to_regnamespace($1), 'USAGE'), false) AND NOT EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p') AND NOT relispartition
            AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
    )
)"""
"""The SQL condition that the role may read and change all tables of the schema $1."""

_CHECK = f"""
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       NOT {MAY_USE_TABLES} AS refused, (
           SELECT coalesce(string_agg(s.setconfig::text, ';' ORDER BY s.setdatabase, s.setrole), '')
           FROM pg_db_role_setting s
           WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
             AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
       ) AS defaults
"""  # noqa: S608  # a constant is inserted


class DatabaseMonitor:
    """The state of one PostgreSQL server, seen from one replica.

    `connect` opens the monitor's own connection. `on_silent` is called when the server stops answering, and `on_usable`
    when it can be used again.
    """

    def __init__(
        self,
        connect: Callable[..., Awaitable[Connection]],
        schema: str,
        *,
        on_silent: Callable[[], Awaitable[None]],
        on_usable: Callable[[], Awaitable[None]],
    ) -> None:
        self._connect = connect
        self._schema = schema
        self._on_silent = on_silent
        self._on_usable = on_usable
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        """The attempt to open the next connection. A slow attempt continues during the next checks."""
        self._connected_at = 0.0
        self._defaults: str | None = None
        """The server's defaults for new connections, as they were when the monitor's connection was opened."""
        self._has_new_defaults = False
        self._checked_at = 0.0
        self._failure: Failure | None = None
        """The failure that the last check found."""
        self._noted: tuple[float, Failure] | None = None
        """The newest failure of a statement, and its time."""
        self._checking: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @property
    def silent(self) -> bool:
        """True while PostgreSQL does not answer at all."""
        return self._failure is not None and self._failure.reason == SILENT

    @property
    def reason(self) -> str | None:
        """The reason why PostgreSQL cannot be used, as the end of a sentence; None while it can be used."""
        if self._failure is not None:
            return self._failure.reason
        if self._noted is not None and time.monotonic() - self._noted[0] < OUTAGE_SECONDS:
            return self._noted[1].reason
        return None

    def note_failure(self, failure: Failure) -> None:
        """Note the failure of a statement. An outage makes PostgreSQL count as not usable for `OUTAGE_SECONDS`.

        With `failure.drop`, the monitor checks PostgreSQL immediately, on a new connection. There is no such check if
        the last check found a failure or is younger than `RETRY_SECONDS`.
        """
        if failure.outage:
            self._noted = time.monotonic(), failure
        check_age = time.monotonic() - self._checked_at
        if failure.drop and self._failure is None and check_age > RETRY_SECONDS:
            self._connected_at = 0.0
            self._wake.set()

    def note_write(self) -> None:
        """Note that a write succeeded."""
        self._noted = None

    async def check(self) -> str | None:
        """Check PostgreSQL now, unless it is silent. Return the reason why it cannot be used, or None."""
        if not self.silent:
            await asyncio.shield(self._check_once())
        return self.reason

    async def watch(self) -> None:
        """Wait for the time of the next check, then check."""
        await wait_at_most(self._wake, INTERVAL_SECONDS if self.reason is None else RETRY_SECONDS)
        self._wake.clear()
        await asyncio.shield(self._check_once())

    async def close(self) -> None:
        """Close the connection."""
        if self._checking is not None:
            # Let the check end, because asyncpg loses a connection when its start is cancelled too late.
            await asyncio.wait({self._checking}, timeout=1.0)
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        if self._connecting is not None:
            await asyncio.wait({self._connecting}, timeout=1.0)
            self._connecting.cancel()
            (opened,) = await asyncio.gather(self._connecting, return_exceptions=True)
            if not isinstance(opened, BaseException):
                opened.terminate()
        self._drop_connection()

    def _check_once(self) -> asyncio.Task[None]:
        """Return the check that runs now, or start one."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._run_check())
        return self._checking

    async def _run_check(self) -> None:
        """Check PostgreSQL once, and log a changed reason.

        After a change, call `on_usable` if PostgreSQL can be used again, or `on_silent` if it does not answer.
        """
        failure = await self._find_failure()
        self._checked_at = time.monotonic()
        before, self._failure = self._failure, failure
        reason = None if failure is None else failure.reason
        if reason == (None if before is None else before.reason):
            return
        if failure is None:
            self._noted = None
            log.info("postgresql can be used again")
            await self._on_usable()
        else:
            log.warning("postgresql cannot be used", reason=f"the database {reason}")
            if self.silent:
                await self._on_silent()

    async def _find_failure(self) -> Failure | None:
        """Check PostgreSQL on the open connection, or on a new one. Return the failure, or None.

        A new connection replaces the open one after a failure and every `RECONNECT_SECONDS`. It also replaces the open
        one after a change of the server's defaults, because only new connections get these defaults. While a new
        connection opens slowly, the open one is used.
        """
        is_old = time.monotonic() - self._connected_at > (
            RECONNECT_SECONDS if self._failure is None else 0.0
        )
        if is_old and self._connection is not None and not await self._is_connect_slow():
            self._drop_connection()
        if self._connection is not None:
            try:
                failure = await self._ask(self._connection)
                if not self._has_new_defaults or await self._is_connect_slow():
                    return failure
                self._drop_connection()
            except Exception as error:  # noqa: BLE001  # a new connection shows more about the fault
                self._drop_connection()
                has_attempt_ended = self._connecting is not None and self._connecting.done()
                if isinstance(error, TimeoutError) and not has_attempt_ended:
                    return Failure(SILENT)
        try:
            connecting, self._connecting = self._start_connecting(), None
            self._connection = await connecting
            self._connected_at = time.monotonic()
            return await self._ask(self._connection)
        except TimeoutError:
            self._drop_connection()
            return Failure(SILENT)
        except Exception as error:  # noqa: BLE001  # every error means that PostgreSQL cannot be used
            self._drop_connection()
            return classify(error, connecting=True) or Failure(f"failed: {type(error).__name__}")

    def _start_connecting(self) -> asyncio.Task[Connection]:
        """Return the attempt to connect that runs or has ended last, or start one."""
        if self._connecting is None:
            settings = {"application_name": f"svgx-{self._schema}-monitor"} | SERVER_SETTINGS
            self._connecting = asyncio.create_task(self._open(settings))
        return self._connecting

    async def _open(self, settings: dict[str, str]) -> Connection:
        return await self._connect(server_settings=settings)

    async def _is_connect_slow(self) -> bool:
        """Return whether a new connection takes too long. In this case, the check uses the old connection.

        A busy server accepts new connections late, but still answers on its open connections.
        """
        connecting = self._start_connecting()
        await asyncio.wait({connecting}, timeout=ANSWER_SECONDS)
        if not connecting.done():
            return True
        if isinstance(connecting.exception(), TimeoutError):
            self._connecting = None
            return True
        return False

    async def _ask(self, connection: Connection) -> Failure | None:
        """Return the failure that the check's answer shows. Raise `TimeoutError` without an answer."""
        asking = asyncio.create_task(connection.fetchrow(_CHECK, self._schema))
        try:
            for _ in range(2):
                await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
                if asking.done():
                    break
            else:
                raise TimeoutError
        finally:
            if not asking.done():
                # Terminate the connection first, because asyncpg waits for the server when a statement is cancelled.
                connection.terminate()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        row = asking.result()
        assert row is not None
        if self._defaults is None:
            self._defaults = row["defaults"]
        self._has_new_defaults = row["defaults"] != self._defaults
        if row["read_only"]:
            return Failure(READ_ONLY)
        return PERMISSIONS if row["refused"] else None

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = self._defaults = None
