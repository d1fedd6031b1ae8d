"""Enforces quotas: edits near an account's daily quota are slowed down, and edits beyond a quota are refused."""

import asyncio
import time

from prometheus_client import Counter

from svgx_common.contract.errors import QuotaExceeded, QuotaFull, SvgxError
from svgx_common.contract.storage.quotas import QuotaName, QuotaStatus, Use
from svgx_common.messaging.caller import Caller
from svgx_common.timing.token_bucket import TokenBucket
from svgx_gateway.quotas.watch import QuotaWatch

SLOW_BYTES_PER_SECOND = 64 * 1024
"""Rate at which this gateway reads the edits of an account that has used 90 % of its `journal_bytes_per_day`.

A drawing user sends about 4 KiB a second.
"""

LONGEST_WAIT_SECONDS = 30.0
"""Longest time that one edit of a slowed account waits, in seconds."""

HEADER = "Svgx-Quota"

REFUSED = Counter(
    "svgx_engine_quota_refused_edits",
    "Edits and imports that were refused because a quota is used up, by quota.",
    ["quota"],
)
for _name in (QuotaName.ACCOUNT_JOURNAL, QuotaName.CANVAS_JOURNAL, QuotaName.CANVAS_CONTENT):
    REFUSED.labels(_name.value)
SLOWED = Counter(
    "svgx_engine_quota_slowed_seconds",
    "Seconds for which edits waited, because their account had used 90 % of its `journal_bytes_per_day`.",
)

_TEXTS = {
    QuotaName.ACCOUNT_JOURNAL: "the edits of an account may add at most {limit} bytes in a day",
    QuotaName.CANVAS_JOURNAL: "the edits on a canvas may add at most {limit} bytes in a day",
    QuotaName.CANVAS_CONTENT: "a canvas may have at most {limit} bytes of content",
}


class QuotaEnforcement:
    """Enforces the quotas on one gateway. Deletions are always accepted, because they free space."""

    def __init__(self, watch: QuotaWatch) -> None:
        self._watch = watch
        self._slowed: dict[str, TokenBucket] = {}
        watch.on_change(self._forget)

    def most_used(self, caller: Caller, canvas_id: str | None = None) -> Use | None:
        """Return the caller's most used quota, or None when less than 80 % of each quota is used."""
        return self._watch.most_used(caller, canvas_id)

    def require_space(self, caller: Caller, canvas_id: str) -> None:
        """Raise `QuotaExceeded` or `QuotaFull` if the caller may not add content to the canvas."""
        use = self._watch.most_used(caller, canvas_id)
        if use is not None and use.status is QuotaStatus.OVER:
            REFUSED.labels(use.name.value).inc()
            raise self.error(use)

    def refusal(self, caller: Caller, canvas_id: str, update: bytes) -> Use | None:
        """Return the used-up quota for which an edit is refused, or None to accept it."""
        use = self._watch.most_used(caller, canvas_id)
        if use is None or use.status is not QuotaStatus.OVER or not _inserts(update):
            return None
        REFUSED.labels(use.name.value).inc()
        return use

    def may_limit(self, caller: Caller, canvas_id: str) -> bool:
        """Return whether a quota may slow or refuse the caller's edits of a canvas."""
        return self._watch.most_used(caller, canvas_id) is not None

    async def slow_down(self, caller: Caller, canvas_id: str, update: bytes) -> None:
        """Wait, at most `LONGEST_WAIT_SECONDS`, before an edit of an account that has used 90 % of its daily bytes."""
        use = self._watch.most_used(caller, canvas_id)
        if use is None or use.status is not QuotaStatus.SLOWED:
            return
        started = time.monotonic()
        account, _ = caller.charged_account
        bucket = self._slowed.get(account)
        if bucket is None:
            bucket = self._slowed[account] = TokenBucket(
                SLOW_BYTES_PER_SECOND, SLOW_BYTES_PER_SECOND, started
            )
        while wait := bucket.seconds_until(0, time.monotonic()):
            remaining = started + LONGEST_WAIT_SECONDS - time.monotonic()
            if remaining <= 0:
                break
            await asyncio.sleep(min(wait, remaining))
        bucket.take(len(update))
        SLOWED.inc(time.monotonic() - started)

    def error(self, use: Use) -> SvgxError:
        """Return the error for a used-up quota."""
        text = _TEXTS[use.name].format(limit=use.limit)
        if use.resets_at is None:
            return QuotaFull(f"{text}; delete something, or ask an admin for more", limit=use.limit)
        return QuotaExceeded(
            f"{text}; try again after {use.resets_at:%Y-%m-%dT%H:%MZ}",
            limit=use.limit,
            retry_after=self._watch.seconds_until(use.resets_at),
        )

    def headers(self, caller: Caller, canvas_id: str | None = None) -> dict[str, str]:
        """Return the header about the caller's most used quota, or no header below 80 % of each quota."""
        use = self._watch.most_used(caller, canvas_id)
        if use is None:
            return {}
        value = f'"{use.name}";used={use.used};limit={use.limit};status={use.status}'
        if use.resets_at is not None:
            value += f";reset={self._watch.seconds_until(use.resets_at)}"
        return {HEADER: value}

    def _forget(self) -> None:
        """Forget the full buckets, because their accounts may no longer be slowed.

        An account that is still slowed gets a new bucket, which is full too.
        """
        now = time.monotonic()
        self._slowed = {
            account: bucket
            for account, bucket in self._slowed.items()
            if bucket.seconds_until(SLOW_BYTES_PER_SECOND, now)
        }


def _inserts(update: bytes) -> bool:
    """Return whether a Yjs update has structs. An update that only deletes has none.

    Such an update begins with 0, because the first number of an update is the number of clients with structs.
    """
    return update[:1] != b"\0"
