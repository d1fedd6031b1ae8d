"""The accounts that created share links. A link gives a role only while its creator may share the canvas."""

import time
from collections import OrderedDict

import structlog

from svgx_common.contract.auth import FoundAccount
from svgx_common.contract.errors import DeadlineExceeded, Unavailable
from svgx_common.contract.policy import CanvasRole
from svgx_state.accounts import Accounts
from svgx_state.permissions import effective_role

log = structlog.get_logger(__name__)

TIMEOUT = 2.0
"""Seconds to wait for an answer from auth. The time is short, because a client waits for its role meanwhile."""

STALE = 600.0
"""Seconds for which the last answer about an account counts while auth does not answer."""

MAX_ENTRIES = 10_000
"""Largest number of remembered answers. Beyond it, the oldest answer is removed."""


class LinkCreators:
    """Looks up the creators of share links in auth. An earlier answer is used only while auth does not answer."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._known: OrderedDict[str, tuple[float, FoundAccount | None]] = OrderedDict()

    async def may_share(self, user_id: str, member: CanvasRole | None) -> bool:
        """Return whether a user with this role as a member may share the canvas: as an owner, or as an admin.

        The account must be active. Raises `Unavailable` when auth does not answer and its last answer about the account
        is older than `STALE` seconds.
        """
        account = await self._find(user_id)
        if account is None or account.disabled:
            return False
        return effective_role(account.role, member) is CanvasRole.OWNER

    def forget(self, user_ids: list[str]) -> None:
        """Forget the answers about accounts that have changed."""
        for user_id in user_ids:
            self._known.pop(user_id, None)

    async def _find(self, user_id: str) -> FoundAccount | None:
        try:
            account = (await self._accounts.find([user_id], timeout=TIMEOUT)).get(user_id)
        except (Unavailable, DeadlineExceeded):
            known_at, known = self._known.get(user_id, (-STALE, None))
            if time.monotonic() - known_at < STALE:
                return known
            raise Unavailable(
                "it is not known whether the share link's creator is active; try again",
                retry_after=1.0,
            ) from None
        self._known[user_id] = (time.monotonic(), account)
        self._known.move_to_end(user_id)
        while len(self._known) > MAX_ENTRIES:
            self._known.popitem(last=False)
        return account
