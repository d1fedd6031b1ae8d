"""The erasure of a user: a pseudonym takes the user's place in all tables, in bounded steps.

Each step is one transaction, which also records the position, so that an interrupted erasure continues at the position.

Edits and requests of the user may still wait for their commit when the first pass ends. A last pass, `GRACE_SECONDS`
later, finds their rows. Until the last pass has ended, the record of the erasure keeps the user's id. A request may be
repeated, for example because an answer was lost. A request within `GRACE_SECONDS` after the first pass erases the user
again, and does not end the erasure. A request after this time does the last pass itself, if PostgreSQL has answered for
at least `SETTLED_SECONDS`.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from svgx_common.contract.errors import SvgxError
from svgx_common.contract.operation import Empty
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import CANVAS_ACCESS_CHANGED
from svgx_common.contract.storage.erasure import ERASE_AUTHOR, EraseAuthorRequest, ErasedAuthor
from svgx_common.contract.storage.events import CanvasDeleted, MemberChanged
from svgx_common.events.outbox import emit
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.responder import Call, Responder
from svgx_common.postgres import Database, Row, Session
from svgx_state.deletion import metrics

log = structlog.get_logger(__name__)

EraseRows = Callable[[Session, str, str, int], Awaitable[Row | None]]
"""Replaces a user id by a pseudonym in at most the given number of rows, or deletes these rows.

Returns a row with their number as `rows`.
"""

ERASED_TABLES: tuple[tuple[str, EraseRows], ...] = (
    ("canvas", lambda session, *arguments: session.row("erase_creator", *arguments)),
    ("share_link", lambda session, *arguments: session.row("erase_links", *arguments)),
    ("configuration", lambda session, *arguments: session.row("erase_configuration", *arguments)),
    ("version", lambda session, *arguments: session.row("erase_versions", *arguments)),
    ("quarantine", lambda session, *arguments: session.row("erase_quarantine", *arguments)),
    ("account_usage", lambda session, *arguments: session.row("erase_usage", *arguments)),
    (
        "purged_canvas",
        lambda session, *arguments: session.row("erase_purged_canvases", *arguments),
    ),
    ("backup", lambda session, *arguments: session.row("erase_backups", *arguments)),
    ("restore", lambda session, *arguments: session.row("erase_restores", *arguments)),
    ("webhook", lambda session, *arguments: session.row("erase_webhooks", *arguments)),
    ("event", lambda session, *arguments: session.row("erase_events", *arguments)),
    ("webhook_delivery", lambda session, *arguments: session.row("erase_deliveries", *arguments)),
    ("erasure", lambda session, *arguments: session.row("erase_transfers", *arguments)),
)
"""The tables that name users, each with the function that erases a user from some of the rows.

The journal, the members and the values have functions of their own.
"""

STEP_CANVASES = 100
"""Largest number of canvases from which one step removes the user.

One step also reads the journal of at most this number of canvases.
"""

STEP_ROWS = 1000
"""Largest number of rows of one of `ERASED_TABLES` that one step changes."""

STEP_ENTRIES = 2000
"""Largest number of journal entries that one step reads."""

GRACE_SECONDS = 3600.0
"""Seconds from the first pass to the last pass.

Edits of the user's last session may still be committed in this time.
"""

SETTLED_SECONDS = 120.0
"""Minimum time, in seconds, for which PostgreSQL must have answered before a last pass.

Collab repeats a failed commit within this time, so edits that waited for PostgreSQL are in the journal by then.
"""

PERIOD_SECONDS = 30.0
"""Seconds between two searches for erasures that are due for the last pass."""

WORK_SECONDS = 8.0
"""Time limit of one request, in seconds. Beyond it, the request begins no further step.

The caller then sends another request for the remaining steps.
"""


@dataclass(slots=True)
class _Progress:
    """The recorded progress of an erasure: the position in the journal, and the number of changed rows by table."""

    canvas_id: str
    revision: int
    touched: Counter[str]


@dataclass(slots=True)
class _Run:
    """The steps of an erasure that one request or one search in the background carries out.

    `values`: deleted stored values that no step has recorded yet. `is_later_pass`: the first pass has ended, so the
    journal is read only of canvases that were changed after the erasure began. `is_last_pass`: the user's id is deleted
    after this pass. `has_searched_tables`: a search of the tables by this run has found no row.
    """

    request: EraseAuthorRequest
    values: int
    is_later_pass: bool
    is_last_pass: bool
    has_searched_tables: bool = False


class Erasure:
    """The handler of `ERASE_AUTHOR`."""

    def __init__(
        self, bus: Bus, database: Database, erase_values: Callable[[str], Awaitable[int]]
    ) -> None:
        """Create the handler. `erase_values` deletes the values of a user in all stores, and returns their number."""
        self._bus = bus
        self._database = database
        self._erase_values = erase_values
        self._reachable_since: float | None = None

    def register(self, responder: Responder) -> None:
        """Answer the operation of this class."""
        responder.answer(ERASE_AUTHOR, self.erase)

    async def erase(self, request: EraseAuthorRequest, _: Call) -> ErasedAuthor:
        """Begin or continue an erasure for `WORK_SECONDS`, and return its progress."""
        clock = asyncio.get_running_loop().time
        until = clock() + WORK_SECONDS
        await self._database.run(
            "begin_erasure", request.pseudonym, request.user_id, request.transfer_to
        )
        values = await self._erase_values(request.user_id)
        finished_before = await self._database.row("is_erased", request.pseudonym, GRACE_SECONDS)
        is_later_pass = finished_before is not None
        is_last_pass = (
            finished_before is not None and finished_before["may_close"] and self._is_settled()
        )
        if is_last_pass:
            await self._database.run("begin_last_pass", request.pseudonym)
        run = _Run(request, values, is_later_pass, is_last_pass)
        while True:
            progress, finished = await self._step(run)
            if finished or clock() > until:
                return ErasedAuthor(
                    finished=finished or is_later_pass, touched=dict(progress.touched)
                )

    async def close_later(self) -> None:
        """Wait, then call `close_due` if `_is_settled`. This is a step to repeat in the background."""
        await asyncio.sleep(PERIOD_SECONDS)
        try:
            await self._database.row("erasure_to_close", GRACE_SECONDS)
        except SvgxError:
            self._reachable_since = None
            raise
        if self._reachable_since is None:
            self._reachable_since = asyncio.get_running_loop().time()
        if self._is_settled():
            await self.close_due()

    def _is_settled(self) -> bool:
        """Return whether PostgreSQL has answered for `SETTLED_SECONDS`, as far as this replica knows."""
        since = self._reachable_since
        return since is not None and asyncio.get_running_loop().time() - since >= SETTLED_SECONDS

    async def close_due(self) -> None:
        """Do the last pass of all erasures that are due for it. Each step is short, so that no edit waits for long."""
        while (row := await self._database.row("erasure_to_close", GRACE_SECONDS)) is not None:
            request = EraseAuthorRequest(user_id=row["user_id"], pseudonym=row["pseudonym"])
            values = await self._erase_values(request.user_id)
            await self._database.run("begin_last_pass", request.pseudonym)
            run = _Run(request, values, is_later_pass=True, is_last_pass=True)
            finished = False
            while not finished:
                _, finished = await self._step(run)

    async def _step(self, run: _Run) -> tuple[_Progress, bool]:
        """Change some rows. Return the progress, and whether no further rows have to be changed."""
        request = run.request
        async with self._database.transaction() as session:
            row = await session.row("lock_erasure", request.pseudonym)
            assert row is not None
            progress = _Progress(
                row["canvas_id"], row["revision"], Counter(json.loads(row["touched"]))
            )
            if row["finished"] and not run.is_later_pass:
                return progress, True
            before = progress.touched.total()
            if run.values:
                progress.touched["stored_value"] += run.values
            new_owner = request.transfer_to or row["transfer_to"]
            changed_canvases = await _leave_canvases(session, request.user_id, new_owner, progress)
            since = row["began_at"] if run.is_later_pass else None
            # A search of the tables reads all rows of some of them, so steps within the journal do not search them.
            # The first steps do, because a request may end within the journal. The last steps do, because versions
            # that were made meanwhile have the authors of the journal.
            more = bool(changed_canvases)
            if not more and not run.has_searched_tables:
                more = await _erase_tables(session, request, progress)
                run.has_searched_tables = not more
            more = (
                more
                or await _erase_authors(session, request, progress, since)
                or await _erase_tables(session, request, progress)
            )
            await session.run(
                "note_erasure",
                request.pseudonym,
                progress.canvas_id,
                progress.revision,
                json.dumps(progress.touched),
            )
            if more:
                pass
            elif run.is_last_pass:
                await session.run("close_erasure", request.pseudonym)
            elif run.is_later_pass:
                await session.run("end_late_pass", request.pseudonym)
            else:
                await session.run("finish_erasure", request.pseudonym)
        run.values = 0
        metrics.ERASED_ROWS.inc(progress.touched.total() - before)
        for canvas_id in changed_canvases:
            await self._bus.broadcast(CANVAS_ACCESS_CHANGED, Empty(), canvas_id=canvas_id)
        if not more:
            log.info("user erased", pseudonym=request.pseudonym, touched=dict(progress.touched))
        return progress, not more


async def _leave_canvases(
    session: Session, user_id: str, new_owner: str | None, progress: _Progress
) -> list[str]:
    """Remove the user from some canvases, and return their ids.

    Transfer canvases without other owners to `new_owner`, or delete them if it is None.
    """
    rows = await session.rows("canvases_to_leave", user_id, STEP_CANVASES)
    canvas_ids = [row["canvas_id"] for row in rows]
    if not canvas_ids:
        return []
    owners: dict[str, set[str]] = {}
    for row in await session.rows("lock_owners_of", canvas_ids):
        owners.setdefault(row["canvas_id"], set()).add(row["user_id"])
    solely_owned = [canvas_id for canvas_id in canvas_ids if owners.get(canvas_id) == {user_id}]
    if new_owner is not None:
        await session.run("give_canvases", solely_owned, new_owner)
        for canvas_id in solely_owned:
            await emit(
                session,
                MemberChanged(canvas_id=canvas_id, user_id=new_owner, role=CanvasRole.OWNER),
            )
        progress.touched["canvas_transferred"] += len(solely_owned)
    else:
        deleted = await session.rows("delete_canvases", solely_owned)
        for row in deleted:
            await emit(session, CanvasDeleted(canvas_id=row["id"]))
        progress.touched["canvas_deleted"] += len(deleted)
    await session.run("leave_canvases", user_id, canvas_ids)
    progress.touched["canvas_member"] += len(canvas_ids)
    return canvas_ids


async def _erase_tables(session: Session, request: EraseAuthorRequest, progress: _Progress) -> bool:
    """Erase the user from some rows of the tables of `ERASED_TABLES`. Return whether there were such rows."""
    for table, erase_rows in ERASED_TABLES:
        row = await erase_rows(session, request.user_id, request.pseudonym, STEP_ROWS)
        assert row is not None
        if row["rows"]:
            progress.touched[table] += row["rows"]
            return True
    return False


async def _erase_authors(
    session: Session, request: EraseAuthorRequest, progress: _Progress, since: datetime | None
) -> bool:
    """Replace the author of some journal entries, canvas by canvas. Return whether entries may remain.

    With `since`, canvases that were not changed since that time are left out.
    """
    budget = STEP_ENTRIES
    canvases = await session.rows("canvases_from", progress.canvas_id, STEP_CANVASES, since)
    for row in canvases:
        is_same = row["id"] == progress.canvas_id
        after = progress.revision if is_same else 0
        last = min(row["revision"], after + budget)
        if last > after:
            changed = await session.row(
                "erase_authors", request.user_id, request.pseudonym, row["id"], after, last
            )
            assert changed is not None
            progress.touched["journal"] += changed["rows"]
            budget -= last - after
        progress.canvas_id, progress.revision = row["id"], max(after, last)
        if budget <= 0:
            return True
    return len(canvases) == STEP_CANVASES
