"""Helpers for tests of backups: a new database, a client that waits until backups and restores end, and a full disk."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from pycrdt import Doc, Map

from svgx_common.contract.collab import REPLACE_CONTENT, ReplaceContentRequest, Replaced
from svgx_common.contract.errors import NotFound, Unavailable
from svgx_common.contract.policy import Role
from svgx_common.contract.state import Entry
from svgx_common.contract.storage import backups as contract
from svgx_common.contract.storage.backups import (
    EXPORT_ACCOUNTS,
    IMPORT_ACCOUNTS,
    Backup,
    BackupStatus,
    ExportAccountsRequest,
    ExportedAccounts,
    ImportAccountsRequest,
    ImportedAccounts,
    Restore,
    RestoreStatus,
    StoredAccount,
    VerificationStatus,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder
from svgx_devstack import DevStack
from tests.integration.state.drawing import Pen
from tests.integration.state.service import Client, Tables
from tests.polling import pause

ADMIN = Caller("admin-1", "admin", Role.ADMIN, "session-1")


@asynccontextmanager
async def database(backing: DevStack) -> AsyncIterator[str]:
    """Create an empty database, and yield its URL. Drop it when the block ends."""
    name = f"vault_{secrets.token_hex(6)}"
    own = backing.postgres_url
    role = own.partition("://")[2].partition(":")[0]
    await _run_as_admin(backing, f'CREATE DATABASE "{name}" OWNER "{role}"')
    yield _with_database(own, name)
    await _run_as_admin(backing, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _run_as_admin(backing: DevStack, statement: str) -> None:
    admin = await asyncpg.connect(backing.postgres_superuser_url("postgres"))
    try:
        await admin.execute(statement)
    finally:
        await admin.close()


def _with_database(url: str, name: str) -> str:
    head, _, options = url.partition("?")
    base = head.rpartition("/")[0]
    return f"{base}/{name}" + (f"?{options}" if options else "")


@asynccontextmanager
async def tables_of(url: str) -> AsyncIterator[Tables]:
    """Connect to the service's tables in a database."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "state"})
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(slots=True)
class Accounts:
    """The accounts by id with which `run_stand_ins` answers in place of auth.

    `refused` maps the id of an account that cannot be added to the refused field. Auth is `Unavailable` at the first
    request to add one of the `unavailable_once` ids.
    """

    stored: dict[str, StoredAccount] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unavailable_once: set[str] = field(default_factory=set)


@dataclass(slots=True)
class StandIns:
    """Stand-ins for auth and collab. `replaced` are the ids of the canvases with content that was replaced."""

    accounts: Accounts = field(default_factory=Accounts)
    replaced: list[str] = field(default_factory=list)


@asynccontextmanager
async def run_stand_ins(backing: DevStack, client: Client) -> AsyncIterator[StandIns]:
    """Answer the operations of auth and collab that backups and restores need, until the block ends.

    A replacement is committed to the journal as one entry with the whole wanted content. Collab would commit the
    smallest edit instead.
    """
    stand_ins = StandIns()

    async def export(request: ExportAccountsRequest, _: Call) -> ExportedAccounts:
        ids = sorted(each for each in stand_ins.accounts.stored if each > (request.after or ""))
        items = [stand_ins.accounts.stored[each] for each in ids[: request.limit]]
        return ExportedAccounts(items=items, total=len(stand_ins.accounts.stored))

    async def add(request: ImportAccountsRequest, _: Call) -> ImportedAccounts:
        added = kept = 0
        refused = []
        for account in request.items:
            if account.id in stand_ins.accounts.unavailable_once:
                stand_ins.accounts.unavailable_once.remove(account.id)
                raise Unavailable("auth restarts")
            if account.id in stand_ins.accounts.refused:
                refused.append(
                    contract.RefusedAccount(
                        id=account.id, field=stand_ins.accounts.refused[account.id]
                    )
                )
            elif account.id in stand_ins.accounts.stored:
                kept += 1
            else:
                stand_ins.accounts.stored[account.id] = account
                added += 1
        return ImportedAccounts(added=added, kept=kept, refused=refused)

    async def replace(request: ReplaceContentRequest, _: Call) -> Replaced:
        stand_ins.replaced.append(request.canvas_id)
        writer = f"collab-{secrets.token_hex(4)}"
        (committed,) = await client.append(
            Entry(request.canvas_id, writer, 1, (request.author,), request.content)
        )
        return Replaced(revision=committed.revision)

    auth = await Bus.connect(backing.nats_url("auth"), "auth", secrets.token_hex(6))
    collab = await Bus.connect(backing.nats_url("collab"), "collab", secrets.token_hex(6))
    responders = Responder(auth, "0"), Responder(collab, "0")
    responders[0].answer(EXPORT_ACCOUNTS, export)
    responders[0].answer(IMPORT_ACCOUNTS, add)
    responders[1].answer(REPLACE_CONTENT, replace)
    try:
        for responder, bus in zip(responders, (auth, collab), strict=True):
            await responder.join()
            await bus.settle()
        yield stand_ins
        for responder in responders:
            await responder.drain()
    finally:
        await auth.close()
        await collab.close()


@dataclass(frozen=True, slots=True)
class Vault:
    """A client of the operations on backups, as an admin. `folder` is the target."""

    client: Client
    folder: Path

    async def begin(self, **fields: str | None) -> Backup:
        """Request a backup, and return its record."""
        full = {"state_type": "canvas", "backup_type": "full", **fields}
        request = contract.CreateBackupRequest.model_validate(full)
        return await self.client.bus.ask(contract.CREATE_BACKUP, request, caller=ADMIN)

    async def back_up(self, **fields: str | None) -> Backup:
        """Make a backup, and return its record at the end."""
        return await self.wait_ended((await self.begin(**fields)).id)

    async def get(self, backup_id: str) -> Backup:
        """Return the record of a backup."""
        request = contract.BackupRequest(backup_id=backup_id)
        return await self.client.bus.ask(contract.GET_BACKUP, request, caller=ADMIN)

    async def wait_ended(self, backup_id: str) -> Backup:
        """Wait until a backup is complete or has failed, and return its record."""
        while (backup := await self.get(backup_id)).status is BackupStatus.RUNNING:
            await pause()
        return backup

    async def page(self, **query: int | str | None) -> contract.BackupPage:
        """Return a page of the list of backups."""
        request = contract.ListBackupsRequest.model_validate(query)
        return await self.client.bus.ask(contract.LIST_BACKUPS, request, caller=ADMIN)

    async def verify(self, backup_id: str) -> contract.Verification:
        """Request the verification of a backup, wait for its end, and return the result."""
        request = contract.BackupRequest(backup_id=backup_id)
        await self.client.bus.ask(contract.VERIFY_BACKUP, request, caller=ADMIN)
        while True:
            verification = (await self.get(backup_id)).verification
            if verification is not None and verification.status is not VerificationStatus.RUNNING:
                return verification
            await pause()

    async def delete(self, backup_id: str) -> Backup:
        """Request the deletion of a backup."""
        request = contract.BackupRequest(backup_id=backup_id)
        return await self.client.bus.ask(contract.DELETE_BACKUP, request, caller=ADMIN)

    async def wait_gone(self, backup_id: str) -> None:
        """Wait until a backup has no record any more."""
        while True:
            try:
                await self.get(backup_id)
            except NotFound:
                return
            await pause()

    async def begin_restore(self, backup_id: str, canvas_id: str | None = None) -> Restore:
        """Request a restore, and return its record."""
        request = contract.RestoreRequest(backup_id=backup_id, canvas_id=canvas_id)
        return await self.client.bus.ask(contract.RESTORE_BACKUP, request, caller=ADMIN)

    async def restore(self, backup_id: str, canvas_id: str | None = None) -> Restore:
        """Restore a backup or one of its canvases, and return the record at the end."""
        return await self.wait_restored((await self.begin_restore(backup_id, canvas_id)).id)

    async def wait_restored(self, restore_id: str) -> Restore:
        """Wait until a restore has ended, and return its record."""
        request = contract.RestoreIdRequest(restore_id=restore_id)
        while True:
            restore = await self.client.bus.ask(contract.GET_RESTORE, request, caller=ADMIN)
            if restore.status is not RestoreStatus.RUNNING:
                return restore
            await pause()

    async def outcomes(self, restore_id: str) -> dict[str, str]:
        """Return the outcome of each canvas of a restore."""
        request = contract.RestoredCanvasesRequest(restore_id=restore_id, limit=200)
        page = await self.client.bus.ask(contract.RESTORED_CANVASES, request, caller=ADMIN)
        return {each.canvas_id: each.outcome.value for each in page.items}

    def objects(self, backup_id: str, kind: str = "") -> list[Path]:
        """Return the stored objects of a backup, of one kind if given."""
        return sorted((self.folder / backup_id).glob(f"{kind}*"))

    async def draw(self, *elements: str, canvas_id: str | None = None) -> str:
        """Draw elements on a canvas, by default on a new one. Return its id."""
        chosen = canvas_id or await self.client.create()
        pen = Pen(chosen, secrets.token_hex(4))
        for element in elements:
            await self.client.append(pen.draw(element))
        return chosen

    async def state(self, canvas_id: str) -> bytes:
        """Return the content of a canvas as one Yjs update."""
        doc: Doc[Map[str]] = Doc()
        for update in (await self.client.load(canvas_id)).updates:
            doc.apply_update(update)
        return doc.get_update()


async def lose(tables: Tables, *canvas_ids: str) -> None:
    """Delete canvases with their content and members, as if the database had lost them."""
    for table in ("journal", "snapshot", "canvas_member"):
        await tables.execute(
            f"DELETE FROM {table} WHERE canvas_id = ANY ($1::text[])", list(canvas_ids)
        )
    await tables.execute("DELETE FROM canvas WHERE id = ANY ($1::text[])", list(canvas_ids))
