"""The enforcement of `Limits` on one replica: for each edit, account and canvas. No I/O; the caller passes the time."""

import math
from dataclasses import dataclass

from prometheus_client import Counter

from svgx_canvas.document.pycrdt_document import SECONDS_PER_PART
from svgx_canvas.document.shared_document import MAX_PENDING_BYTES, Growth
from svgx_common.contract.live.rejections import Reason
from svgx_common.timing.token_bucket import TokenBucket

REFUSED = Counter(
    "svgx_engine_collab_refused_edits",
    "Edits that were refused, wholly or in part, by limit or other reason. Malformed edits are not counted.",
    ["bound"],
)
for _reason in Reason:
    if _reason is not Reason.MALFORMED:
        REFUSED.labels(_reason.name.lower())
PACED = Counter(
    "svgx_engine_collab_paced_seconds",
    "Seconds of the pauses that long transactions cause. A canvas in a pause does not integrate its changes.",
)

MANY_ACCOUNTS = 10_000
"""Number of accounts at which the accounts with little use are removed before a new account is added."""

REMOVAL_SECONDS = 5.0
"""Shortest time in seconds between two removals of accounts, because each removal checks all accounts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one replica."""

    edit_seconds: float = 0.1
    """Limit of the processor time of one edit's integration, in seconds. Each struct adds 20 µs to the limit."""
    account_seconds: float = 5.0
    """Burst allowance of an account, in seconds of processor time.

    Only the time of measured edits counts. An edit is measured if it has over `pycrdt_document.FEW_STRUCTS` structs
    (fewer on a canvas with a very long list), if it deletes over `shared_document.FEW_RANGES` ranges together with the
    edits in the queue, if its deletions are long, or if it waited for missing edits. For some seconds after a slow
    transaction of a canvas, all edits of this canvas are measured.
    """
    account_share: float = 0.02
    """The share of processor time that the measured edits of an account may take in the long run."""
    edit_clients: int = 10_000
    """Yjs clients that one edit may add to a canvas."""
    account_clients: int = 20_000
    """Yjs clients that the edits of an account may add in an hour."""
    canvas_clients: int = 200_000
    """Yjs clients of one canvas, including former clients."""
    canvas_structs: int = 4_000_000
    """Structs of one canvas, including deleted structs."""
    canvas_waiting_bytes: int = MAX_PENDING_BYTES // 2
    """Bytes of memory for the edits of one canvas that wait for missing edits.

    The other half of `MAX_PENDING_BYTES` is for updates of the journal, which are never refused. Another replica that
    also considers itself the holder may have written further waiting edits to the journal.
    """
    canvas_share: float = 0.05
    """The share of processor time that the long transactions of a canvas may take.

    Edits that waited for missing edits get this share too, after their author has used up its time.

    A part of a transaction is an edit, or a piece of an earlier edit that waited for missing edits. For each part,
    `SECONDS_PER_PART` of the transaction's time do not count.
    """
    canvas_edit_share: float = 0.5
    """The share of processor time for receiving a canvas's edits: their checks, and the integration of large edits."""


class EditRefused(Exception):
    """The refusal of an edit.

    `amount` is the limit, or the seconds until the client may try again, rounded up. It is 0 for
    `CONTRADICTION` and `OTHERS_CLIENT`.
    """

    def __init__(self, reason: Reason, amount: float) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.amount = math.ceil(amount)


@dataclass(frozen=True, slots=True)
class _AccountBudget:
    """The seconds of processor time and the new Yjs clients that an account may still use."""

    seconds: TokenBucket
    clients: TokenBucket


class Bounds:
    """Enforces the limits of edits on one replica, and counts the use by each account."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self._client_rate = limits.account_clients / 3600
        self._accounts: dict[str, _AccountBudget] = {}
        self._forget_at = -math.inf
        """Earliest time of the next removal of accounts with little use."""

    def admit(
        self,
        author: str,
        growth: Growth,
        clients: int,
        structs: int,
        now: float,
        *,
        waiting_bytes: int = 0,
    ) -> None:
        """Check the growth that an edit causes on a canvas that has `clients` Yjs clients and `structs` structs.

        The new Yjs clients of an admitted edit are charged to the author.

        `waiting_bytes` are the bytes of memory for the canvas's edits that wait for missing edits.

        Raises `EditRefused` when the growth would exceed a bound, when the edit waits and contradicts another edit, or
        while the account's measured edits have used up its time. The used-up time does not refuse an edit that waits as
        a whole and has no new Yjs clients. An edit with neither growth nor new deletions is always admitted.
        """
        limits = self.limits
        if growth.contradicts:
            raise EditRefused(Reason.CONTRADICTION, 0)
        if (
            growth.pending_bytes
            and waiting_bytes + growth.pending_bytes > limits.canvas_waiting_bytes
        ):
            raise EditRefused(Reason.CANVAS_WAITING, limits.canvas_waiting_bytes)
        grows = growth.structs or growth.clients
        if not grows and not growth.deletes:
            return
        if author in self._accounts:
            self._check_seconds(author, now)
        if not grows:
            return
        if structs + growth.structs > limits.canvas_structs:
            raise EditRefused(Reason.CANVAS_STRUCTS, limits.canvas_structs)
        if not growth.clients:
            return
        if growth.clients > limits.edit_clients:
            raise EditRefused(Reason.EDIT_CLIENTS, limits.edit_clients)
        if clients + growth.clients > limits.canvas_clients:
            raise EditRefused(Reason.CANVAS_CLIENTS, limits.canvas_clients)
        bucket = self._account(author, now).clients
        if seconds := bucket.seconds_until(growth.clients, now):
            raise EditRefused(Reason.ACCOUNT_CLIENTS, seconds)
        bucket.take(growth.clients)

    def spend(self, author: str, seconds: float, now: float) -> bool:
        """Count the seconds of processor time that an account's measured edits have taken.

        Return whether the account has used up its time.
        """
        bucket = self._account(author, now).seconds
        bucket.seconds_until(0.0, now)
        bucket.take(seconds)
        return bucket.seconds_until(0.0, now) > 0

    def _check_seconds(self, author: str, now: float) -> None:
        if seconds := self._accounts[author].seconds.seconds_until(0.0, now):
            raise EditRefused(Reason.ACCOUNT_TIME, seconds)

    def _account(self, author: str, now: float) -> _AccountBudget:
        account = self._accounts.get(author)
        if account is None:
            if len(self._accounts) >= MANY_ACCOUNTS and now >= self._forget_at:
                self._forget_at = now + REMOVAL_SECONDS
                self._forget(now)
            limits = self.limits
            account = self._accounts[author] = _AccountBudget(
                TokenBucket(limits.account_share, limits.account_seconds, now),
                TokenBucket(self._client_rate, limits.account_clients, now),
            )
        return account

    def _forget(self, now: float) -> None:
        """Forget the accounts with little use: at most a tenth of each limit."""
        limits = self.limits
        self._accounts = {
            author: account
            for author, account in self._accounts.items()
            if account.seconds.seconds_until(0.9 * limits.account_seconds, now)
            or account.clients.seconds_until(0.9 * limits.account_clients, now)
        }


class Pace:
    """The pace of one canvas: its use of processor time, and the pauses that limit this use.

    Times are monotonic seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.seconds = 0.0
        """Seconds of processor time that the edits and transactions of the canvas have taken."""
        self.excess_seconds = 0.0
        """Seconds of processor time of transactions, without `SECONDS_PER_PART` for each part.

        Only transactions that cause a pause count. The docstring of `Limits.canvas_share` explains a part.
        """
        self._due_at = 0.0
        self._edits = TokenBucket(limits.canvas_edit_share, EDIT_BURST_SECONDS, 0.0)
        self._pauses_ended = False

    def end_pauses(self) -> None:
        """End the pause of integration, because the replica releases the canvas. No further pause begins afterwards."""
        self._pauses_ended = True

    def seconds_until_due(self, now: float) -> float:
        """Return the seconds until the canvas's changes may be integrated, or 0."""
        return 0.0 if self._pauses_ended else max(0.0, self._due_at - now)

    def note_transaction(self, seconds: float, parts: int, now: float) -> None:
        """Note the seconds of processor time that a transaction of `parts` parts has taken.

        A transaction that takes long for its number of parts causes a pause, but not after `end_pauses`. The seconds
        are not added to `self.seconds`, because `note_flush` or `note_edits` adds them. The docstring of
        `Limits.canvas_share` explains a part.
        """
        excess = seconds - parts * SECONDS_PER_PART
        if excess > SHORT_TRANSACTION_SECONDS and not self._pauses_ended:
            self.excess_seconds += excess
            pause = min(LONGEST_PAUSE_SECONDS, excess / self._limits.canvas_share - excess)
            self._due_at = now + pause
            PACED.inc(pause)

    def note_flush(self, seconds: float) -> None:
        """Note the seconds of processor time that the room has taken to integrate its queued edits."""
        self.seconds += seconds

    def note_edits(self, seconds: float, now: float, *, out_of_time: bool = False) -> None:
        """Note the seconds of processor time that a batch of edits has taken.

        With `out_of_time`, the seconds cause a longer wait, so that such batches take `Limits.canvas_share` of the
        processor time, and not `Limits.canvas_edit_share`.
        """
        self.seconds += seconds
        self._edits.seconds_until(0.0, now)
        limits = self._limits
        self._edits.take(
            seconds * limits.canvas_edit_share / limits.canvas_share if out_of_time else seconds
        )

    def seconds_until_edits(self, now: float) -> float:
        """Return the seconds until the canvas's next batch may be taken, or 0."""
        return self._edits.seconds_until(0.0, now)


SHORT_TRANSACTION_SECONDS = 0.002
"""A transaction causes a pause if it takes this many seconds more than `SECONDS_PER_PART` for each of its parts."""

LONGEST_PAUSE_SECONDS = 2.0
"""The longest pause of a canvas, in seconds."""

EDIT_BURST_SECONDS = 0.5
"""Burst allowance of a canvas, in seconds of processor time of its edits. Within it, the edits do not wait."""
