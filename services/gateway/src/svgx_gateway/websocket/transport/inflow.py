"""The inflow of one connection decides when the connection's next frame may be read. No I/O, and no transport.

A client that sends too much is slowed down: the transport stops reading, and TCP stops the client. No data is lost, and
other clients are not affected.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from svgx_common.timing.token_bucket import TokenBucket

RETRY_SECONDS = 0.1
"""Seconds until the next attempt to reserve memory for a message that got none."""

MEMORY_SECONDS = 30.0
"""Time limit for a large message's wait for memory, in seconds. Beyond it, the connection is closed as overloaded."""

MESSAGE_SECONDS = 300.0
"""Time limit for the arrival of a large message, in seconds. Beyond it, the connection is closed.

Other messages cannot use the memory of the message before then.
"""

SLOW_BYTES_PER_SECOND = 64 * 1024
"""Minimum rate of a large message while memory is scarce, in bytes a second. Below it, the connection is closed."""

SLOW_SECONDS = 5.0
"""Seconds over which the rate of a message is measured and compared with `SLOW_BYTES_PER_SECOND`."""


@dataclass(frozen=True, slots=True)
class InflowLimits:
    """The limits of one connection. Beyond a rate, the connection's frames wait."""

    frames: float = 500.0
    """Maximum rate, in frames a second. After a pause, the client may send twice this number of frames in one burst."""
    bytes: float = 2 * 1024 * 1024
    """Maximum rate, in bytes of payload a second."""
    burst_bytes: float = 16 * 1024 * 1024
    """Bytes of payload that the client may send in one burst after a pause."""
    flood_seconds: float = 60.0
    """Longest time, in seconds, for which a client may exceed the rate of frames.

    Beyond it, the connection is closed.
    """


class LargeMessages:
    """The memory for large messages, shared by all connections of a gateway. When none is free, a message waits.

    Memory is reserved in steps of `threshold` bytes: for the bytes that have arrived, plus at most one step. A declared
    length reserves nothing, because a client can declare a length without sending a message of this length. Three
    rules keep a few accounts from using up the memory:

    - An account has one large message at a time.
    - A message larger than a quarter of the memory must leave a quarter free for other messages.
    - All viewers together have a quarter of the memory. Their document messages are discarded, but their presence may
      be large.

    Two exceptions keep unfinished messages from waiting for each other. The oldest message always gets memory, so one
    message may exceed the whole memory. The oldest message of a viewer may exceed the viewers' quarter.
    """

    def __init__(self, max_bytes: int, *, threshold: int = 256 * 1024) -> None:
        self.threshold = threshold
        """Largest message, in bytes, that needs no reservation. It is also the size of a step."""
        self._max_bytes = max_bytes
        self._used = 0
        self._reserved: dict[Inflow, int] = {}
        self._accounts: dict[Inflow, str] = {}
        """The account of each inflow when its memory was reserved. The account of an inflow may change later."""

    @property
    def used(self) -> int:
        """Return the reserved bytes."""
        return self._used

    @property
    def is_scarce(self) -> bool:
        """Return whether more than half of the memory is reserved."""
        return 2 * self._used > self._max_bytes

    def reserve(self, inflow: "Inflow", size: int) -> bool:
        """Reserve memory for the first `size` bytes of a message. Return False if the message has to wait.

        The memory of earlier bytes stays reserved.
        """
        own = self._reserved.get(inflow, 0)
        if size <= own:
            return True
        if not own and inflow.account in self._accounts.values():
            return False
        if not self._has_room(inflow, size, own):
            return False
        if not own:
            self._accounts[inflow] = inflow.account
        self._used += size - own
        self._reserved[inflow] = size
        return True

    def _has_room(self, inflow: "Inflow", size: int, own: int) -> bool:
        share = self._max_bytes // 4
        limit = self._max_bytes if size <= share else self._max_bytes - share
        if next(iter(self._reserved), inflow) is not inflow and self._used - own + size > limit:
            return False
        if not inflow.is_viewer:
            return True
        viewers = {each: used for each, used in self._reserved.items() if each.is_viewer}
        is_oldest = next(iter(viewers), inflow) is inflow
        return is_oldest or sum(viewers.values()) - own + size <= share

    def release(self, inflow: "Inflow") -> None:
        """Release the memory of a message, if any is reserved."""
        self._used -= self._reserved.pop(inflow, 0)
        self._accounts.pop(inflow, None)


class Inflow:
    """The inflow of one connection.

    The transport calls `seconds_to_wait` before each frame, `count` for each frame, and `reserve_ahead` before it reads
    more of the payload of a large message.
    """

    def __init__(
        self,
        limits: InflowLimits,
        large_messages: LargeMessages,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account = ""
        """The account of the connection, once it is known."""
        self.is_viewer = False
        """True when the client's role on each canvas of this connection is known, and no role allows edits."""
        self._limits = limits
        self._large_messages = large_messages
        self._clock = clock
        # The bucket holds the frames of two seconds, because a delayed client sends its queued frames together.
        burst = max(1.0, 2 * limits.frames)
        self._frames = TokenBucket(limits.frames, burst, clock())
        self._recovery_tokens = max(1.0, burst / 10)
        """Free tokens of `_frames` at which a client that exceeded the rate no longer counts as flooding."""
        self._bytes = TokenBucket(limits.bytes, limits.burst_bytes, clock())
        self._flooding_since: float | None = None
        self._waiting_since: float | None = None
        self._reserved_since: float | None = None
        self._is_complete = False
        self._measured_from: tuple[float, int] | None = None
        """The time at which the measurement of the present message's rate began, and the bytes that had arrived."""
        self._is_slow = False
        """True when the present message has arrived too slowly while memory was scarce."""
        self._keepers = 0
        self._is_released = False
        """True when `release` was called and the memory is still kept."""

    def seconds_to_wait(self) -> float:
        """Return the seconds until the next frame may be read, or 0."""
        now = self._clock()
        wait = self._frames.seconds_until(1, now)
        if self._flooding_since is None:
            if wait:
                self._flooding_since = now
        elif not self._frames.seconds_until(self._recovery_tokens, now):
            self._flooding_since = None
        return max(wait, self._bytes.seconds_until(0, now))

    def count(self, size: int) -> None:
        """Count one frame with `size` bytes of payload."""
        self._frames.take(1)
        self._bytes.take(size)

    @property
    def is_flooding(self) -> bool:
        """Return whether the client has exceeded the rate of frames for more than `flood_seconds`."""
        since = self._flooding_since
        return since is not None and self._clock() - since > self._limits.flood_seconds

    @property
    def is_starved(self) -> bool:
        """Return whether a large message has waited too long for memory, or arrives too slowly."""
        return self._is_slow or any(
            since is not None and self._clock() - since > limit
            for since, limit in (
                (self._waiting_since, MEMORY_SECONDS),
                (self._reserved_since, MESSAGE_SECONDS),
            )
        )

    @property
    def is_complete(self) -> bool:
        """Return whether a large message has arrived completely and is not handled yet."""
        return self._is_complete

    @property
    def is_arriving(self) -> bool:
        """Return whether a large message has memory and has not arrived completely."""
        return self._reserved_since is not None and not self._is_complete

    def measure(self, arrived: int, *, is_read: bool) -> None:
        """Measure the rate of a message of which `arrived` bytes have arrived. Call this about once a second.

        Time in which the gateway does not read the connection is not counted.
        """
        now = self._clock()
        if not is_read or self._measured_from is None:
            self._measured_from = now, arrived
            return
        since, bytes_before = self._measured_from
        if now - since >= SLOW_SECONDS:
            is_slow = arrived - bytes_before < SLOW_BYTES_PER_SECOND * (now - since)
            self._is_slow = is_slow and self._large_messages.is_scarce
            self._measured_from = now, arrived

    def reserve_ahead(self, arrived: int, size: int) -> bool:
        """Reserve memory for the arrived bytes of a message of `size` bytes, and for the next step.

        Return False when the message has to wait for memory.
        """
        step = self._large_messages.threshold
        return self.reserve(min(size, (arrived // step + 1) * step))

    def reserve(self, size: int) -> bool:
        """Reserve memory for `size` bytes of a message. Return False when the message has to wait for memory."""
        large = self._large_messages
        if size <= large.threshold:
            return True
        if self._is_complete or not large.reserve(self, size):
            self._waiting_since = self._waiting_since or self._clock()
            return False
        self._waiting_since = None
        self._reserved_since = self._reserved_since or self._clock()
        return True

    def complete(self, size: int) -> None:
        """Note that a whole message has arrived. The next large message waits until this one has been handled."""
        if size > self._large_messages.threshold:
            self._is_complete = True

    def release_handled(self) -> bool:
        """Release the memory of a large message that was handled. Return whether there was such a message."""
        if not self._is_complete:
            return False
        self.release()
        return True

    def release(self) -> None:
        """Release all reserved memory, or let the last `keep` release it at its end."""
        if self._keepers:
            self._is_released = True
            return
        self._is_complete = False
        self._is_released = False
        self._reserved_since = None
        self._waiting_since = None
        self._measured_from = None
        self._is_slow = False
        self._large_messages.release(self)

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Keep the reserved memory within the block, also after the end of the connection."""
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1
            if self._is_released:
                self.release()
