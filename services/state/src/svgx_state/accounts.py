"""The accounts that requests name. Auth stores accounts, so this service asks auth."""

from collections.abc import Iterable, Sequence

from svgx_common.contract.auth import FIND_ACCOUNTS, FindAccountsRequest, FoundAccount
from svgx_common.contract.errors import Invalid
from svgx_common.messaging.bus import Bus


class Accounts:
    """The lookup of accounts in the auth service."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def find(
        self, user_ids: Iterable[str], *, timeout: float | None = None
    ) -> dict[str, FoundAccount]:
        """Return the accounts with these ids (at most 1000), by id. Unknown and deleted accounts are left out.

        `timeout` is in seconds; None stands for the time limit of the operation. Raises one
        of `TEMPORARY_ERRORS` while auth does not answer or has too many requests.
        """
        request = FindAccountsRequest(user_ids=sorted(set(user_ids)))
        reply = await self._bus.ask(FIND_ACCOUNTS, request, timeout=timeout)
        return {account.id: account for account in reply.items}

    async def check_exist(self, named: Sequence[tuple[str, str]]) -> None:
        """Check the accounts that a request names: at most 1000 ids, each with the name of its field.

        Raises `Invalid` for the first account that does not exist, and the errors of `find`. Without an account, auth
        is not asked.
        """
        if not named:
            return
        accounts = await self.find(user_id for user_id, _ in named)
        for user_id, field in named:
            if user_id not in accounts:
                raise Invalid(f"{field}: there is no account with this id", field=field)
