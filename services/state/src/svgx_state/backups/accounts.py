"""The accounts of a backup. The auth service stores accounts, so this service reads and adds them through auth."""

from collections.abc import AsyncIterator

from svgx_common.contract.storage.backups import (
    EXPORT_ACCOUNTS,
    IMPORT_ACCOUNTS,
    ExportAccountsRequest,
    ImportAccountsRequest,
    ImportedAccounts,
    StoredAccount,
)
from svgx_common.messaging.bus import Bus

PAGE_SIZE = 200
"""Largest number of accounts in one message."""


class StoredAccounts:
    """The accounts of the auth service, with their secrets. The secrets are never logged."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def count(self) -> int:
        """Return the number of all accounts. Raise the errors of `Bus.ask`."""
        return (await self._bus.ask(EXPORT_ACCOUNTS, ExportAccountsRequest(limit=1))).total

    async def pages(self, after: str) -> AsyncIterator[list[StoredAccount]]:
        """Yield all accounts after an id, in pages, in the byte order of the ids. Raise the errors of `Bus.ask`."""
        while True:
            request = ExportAccountsRequest(after=after or None, limit=PAGE_SIZE)
            items = (await self._bus.ask(EXPORT_ACCOUNTS, request)).items
            if items:
                yield items
            if len(items) < PAGE_SIZE:
                return
            after = items[-1].id

    async def add(self, accounts: list[StoredAccount]) -> ImportedAccounts:
        """Add the accounts that do not exist. Raise the errors of `Bus.ask`."""
        return await self._bus.ask(IMPORT_ACCOUNTS, ImportAccountsRequest(items=accounts))
