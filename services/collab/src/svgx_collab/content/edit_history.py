"""The edits that accounts can undo and redo, in two Redis lists for each canvas and account.

Each item is the step of one edit (see `svgx_canvas.changes.undo_step`), or of the edits of one undo group. The newest
step is first. Workers compress the steps, because a large one would occupy a replica for seconds. If Redis loses its
keys, no edit is lost, but earlier edits cannot be undone.
"""

import asyncio
import base64
import contextlib
import functools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import structlog
from redis.asyncio.lock import Lock

from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import Overloaded, TooManyRequests, Unavailable
from svgx_common.redis import RETRY_SECONDS, Redis, RedisError, answer_of

log = structlog.get_logger(__name__)

MAX_STEPS = 100
"""Largest number of edits that an account can undo on a canvas."""

MAX_BYTES = 256 * 1024
"""Largest size of all steps of an account on a canvas in one list, compressed, in bytes of Redis."""

LIFETIME_SECONDS = 24 * 3600
"""Time after an account's last edit, undo or redo on a canvas at which its steps are forgotten, in seconds."""

TURN_SECONDS = 6.0
"""Time after which the turn of an undo ends unless its replica renews it, in seconds.

A killed replica delays the account's next undo on the canvas by this time at most.
"""

RENEWAL_SECONDS = 2.0
"""Seconds between two renewals of a turn."""

WAIT_SECONDS = 10
"""Longest time that an undo waits for its turn, in seconds."""

MAX_TURNS = 8
"""Largest number of undos and redos of an account that run or wait on a replica at a time."""

CONTENT = "the undo history"
"""The content of Redis, for errors."""

Direction = Literal["undo", "redo"]

# `push` adds a step to a list, and removes the oldest steps beyond ARGV[2] steps or ARGV[3] bytes. An empty step, which
# stands for one that is too large, empties the list. The list lives for ARGV[4] seconds from now on. Each item begins
# with the size of all steps that were ever added to the list, so that the present size takes no time to compute.
_PUSH = """
local function added(item)
    return item and tonumber(string.match(item, '^%d+')) or 0
end
local function push(key, step)
    if step == '' then redis.call('DEL', key) return end
    local total = added(redis.call('LINDEX', key, 0)) + #step
    redis.call('LPUSH', key, string.format('%.0f ', total) .. step)
    redis.call('LTRIM', key, 0, ARGV[2] - 1)
    local oldest = redis.call('LINDEX', key, -1)
    while total - added(oldest) + #oldest > tonumber(ARGV[3]) and redis.call('LLEN', key) > 1 do
        redis.call('RPOP', key)
        oldest = redis.call('LINDEX', key, -1)
    end
    redis.call('EXPIRE', key, ARGV[4])
end
"""

# A new edit: adds its step ARGV[1] to the list KEYS[1] of undos, and empties the list KEYS[2] of redos. If the joined
# step ARGV[5] is not empty, and the item ARGV[6] is still the newest one, the joined step takes the place of this item.
_RECORD = (
    _PUSH
    + """
local step = ARGV[1]
if ARGV[5] ~= '' and redis.call('LINDEX', KEYS[1], 0) == ARGV[6] then
    redis.call('LPOP', KEYS[1])
    step = ARGV[5]
end
push(KEYS[1], step)
redis.call('DEL', KEYS[2])
"""
)

# An undo or redo: removes the item ARGV[5] from the list KEYS[1], and adds the step ARGV[1] to the list KEYS[2], unless
# it is "-". If ARGV[6] is "undo" and the step is not the newest any more, there is a new edit, which has emptied the
# list of redos, so the step is not added. The newest undo belongs to no group any more, so that the next edit is not
# joined with it. Both lists live for ARGV[4] seconds from now on. Returns their lengths.
_MOVE = (
    _PUSH
    + """
local newest = redis.call('LINDEX', KEYS[1], 0) == ARGV[5]
redis.call('LREM', KEYS[1], 1, ARGV[5])
if ARGV[1] ~= '-' and (newest or ARGV[6] ~= 'undo') then push(KEYS[2], ARGV[1]) end
local undos = ARGV[6] == 'undo' and KEYS[1] or KEYS[2]
local before, step = string.match(redis.call('LINDEX', undos, 0) or '', '^(%d+ )%S+ (%S+)$')
if step then redis.call('LSET', undos, 0, before .. step) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2])}
"""
)


@dataclass(frozen=True, slots=True)
class StoredStep:
    """The newest step of a list. `stored` is its item in Redis."""

    step: bytes
    stored: str

    @property
    def undo_group(self) -> str | None:
        """Return the undo group of the edits, or None."""
        match self.stored.split(" "):
            case [_, group, _]:
                return group
            case _:
                return None


@dataclass(frozen=True, slots=True)
class NewStep:
    """The step of a new edit, and its undo group or None.

    `earlier` is the newest step that can be undone, if it belongs to the group. `joined` undoes both edits; it is empty
    if no step can.
    """

    step: bytes
    undo_group: str | None = None
    earlier: StoredStep | None = None
    joined: bytes = b""


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of edits that an account can undo and redo."""

    undo: int
    redo: int


class EditHistory:
    """The undo history of all accounts on all canvases. All replicas share it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._turns: Counter[str] = Counter()
        """The number of turns of each account that run or wait."""
        self._record_script = redis.register_script(_RECORD)
        self._move_script = redis.register_script(_MOVE)

    async def record(self, canvas_id: str, account: str, new: NewStep) -> None:
        """Add the step of a new edit, and forget the edits that the account has undone before.

        If the step can be joined with the newest step, put the joined step in its place. Without Redis, the edit cannot
        be undone. The failure is logged.
        """
        keys = [_key("undo", canvas_id, account), _key("redo", canvas_id, account)]
        joined = _stored(new.joined, new.undo_group) if new.joined else ""
        earlier = "" if new.earlier is None else new.earlier.stored
        arguments = [*_push_arguments(_stored(new.step, new.undo_group)), joined, earlier]
        try:
            await self._record_script(keys=keys, args=arguments)
        except (RedisError, OSError):
            log.warning("an edit cannot be undone, because Redis did not take its step")

    async def newest_of_group(
        self, canvas_id: str, account: str, undo_group: str | None
    ) -> StoredStep | None:
        """Return the newest step that can be undone if it belongs to the undo group, or None, also without Redis."""
        if undo_group is None:
            return None
        try:
            newest = await self.newest("undo", canvas_id, account)
        except Unavailable:
            return None
        return newest if newest is not None and newest.undo_group == undo_group else None

    @contextlib.asynccontextmanager
    async def turn(self, canvas_id: str, account: str) -> AsyncIterator[None]:
        """Let one undo or redo of the account on the canvas run at a time. The next one waits.

        Raises `TooManyRequests` beyond `MAX_TURNS`, because waiting requests occupy the slots of other accounts. Raises
        `Overloaded` after `WAIT_SECONDS`, and `Unavailable` without Redis.
        """
        if self._turns[account] >= MAX_TURNS:
            raise TooManyRequests(
                f"at most {MAX_TURNS} undos and redos of one account run or wait at a time",
                limit=MAX_TURNS,
                retry_after=RETRY_SECONDS,
            )
        self._turns[account] += 1
        try:
            async with self._lock(canvas_id, account):
                yield
        finally:
            self._turns[account] -= 1
            if not self._turns[account]:
                del self._turns[account]

    @contextlib.asynccontextmanager
    async def _lock(self, canvas_id: str, account: str) -> AsyncIterator[None]:
        lock = self._redis.lock(
            f"svgx:undoing:{canvas_id}:{account}", timeout=TURN_SECONDS, sleep=0.05
        )
        if not await answer_of(lock.acquire(blocking_timeout=WAIT_SECONDS), CONTENT):
            raise Overloaded(
                "another undo or redo of this account is running on this canvas",
                retry_after=RETRY_SECONDS,
            )
        renewals = BackgroundTasks()
        renewals.repeat("renew the turn of an undo", functools.partial(_renew, lock))
        try:
            yield
        finally:
            await renewals.stop()
            with contextlib.suppress(RedisError, OSError):
                await lock.release()

    async def counts(self, canvas_id: str, account: str) -> Counts:
        """Return the numbers of edits that the account can undo and redo. Raises `Unavailable` without Redis."""
        pipeline = self._redis.pipeline(transaction=True)
        for direction in ("undo", "redo"):
            pipeline.llen(_key(direction, canvas_id, account))
        undo, redo = await answer_of(pipeline.execute(), CONTENT)
        return Counts(undo, redo)

    async def newest(self, direction: Direction, canvas_id: str, account: str) -> StoredStep | None:
        """Return the step of the edit to undo or redo next, or None. Raises `Unavailable` without Redis."""
        reading = self._redis.lindex(_key(direction, canvas_id, account), 0)
        stored = await answer_of(reading, CONTENT)
        if stored is None:
            return None
        return StoredStep(base64.b64decode(stored.rpartition(" ")[2]), stored)

    async def move(
        self, direction: Direction, canvas_id: str, account: str, done: StoredStep, step_back: bytes
    ) -> Counts | None:
        """Remove a step that has been carried out, and add the step back to the list of the other direction.

        If nothing has changed, `step_back` is empty, and no step is added. Nor is the step back of an undo, if there is
        a new edit since, because a new edit forgets the undone ones. Return the numbers of steps that can be undone and
        redone now, or None without Redis.
        """
        other: Direction = "redo" if direction == "undo" else "undo"
        keys = [_key(direction, canvas_id, account), _key(other, canvas_id, account)]
        added = _stored(step_back) if step_back else "-"
        try:
            lengths = await self._move_script(
                keys=keys, args=[*_push_arguments(added), done.stored, direction]
            )
        except (RedisError, OSError):
            log.warning("an undone edit is still in the history, because Redis does not answer")
            return None
        here, there = map(int, lengths)
        return Counts(here, there) if direction == "undo" else Counts(there, here)


async def _renew(lock: Lock) -> None:
    """Wait, and then renew a lock. Raises `Unavailable` without Redis."""
    await asyncio.sleep(RENEWAL_SECONDS)
    await answer_of(lock.reacquire(), CONTENT)


def _stored(step: bytes, undo_group: str | None = None) -> str:
    """Return the form of a step in Redis. It is empty for a step that is too large."""
    # The encoding has four characters for each three bytes.
    if len(step) > MAX_BYTES // 4 * 3:
        return ""
    encoded = base64.b64encode(step).decode()
    return encoded if undo_group is None else f"{undo_group} {encoded}"


def _push_arguments(stored: str) -> list[str | int]:
    return [stored, MAX_STEPS, MAX_BYTES, LIFETIME_SECONDS]


def _key(direction: Direction, canvas_id: str, account: str) -> str:
    return f"svgx:{direction}:{canvas_id}:{account}"
