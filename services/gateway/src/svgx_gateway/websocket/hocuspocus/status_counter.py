"""The status counter: which document messages of a Hocuspocus client get a sync status, and when. No I/O."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from svgx_common.contract.errors import Overloaded
from svgx_gateway.websocket.trackers.saved_counter import SavedCounter

MAX_UNANSWERED = 32_768
"""Largest number of messages that wait for the status `applied`. Beyond it, the next message is refused.

A client that sends 500 messages a second, the default limit, reaches this number after a minute without storage. Such a
minute ends the connections of a canvas in any case (docs/spec.md, R-SAVE-5).
"""

MAX_RUNS = 1024
"""Largest number of runs of messages with consecutive numbers that wait for the status `applied`.

Beyond it, the next message is refused. The messages of a Hocuspocus provider form a few runs.
"""


@dataclass(slots=True)
class _Run:
    """Messages with consecutive numbers that wait for the status `applied`."""

    first: int
    """The number of the first message."""
    count: int


class StatusCounter(SavedCounter):
    """The saved counter of a client that expects one status for each document message that the client counts.

    The client counts its unsynced changes (HocuspocusProvider.ts, `unsyncedChanges`): each update adds one, a sync step
    1 sets the number to one, and each status `applied` takes one away. So the server sends one status for each update,
    and one for the first sync step 2 after each sync step 1 of the client. Further sync steps 2 get no status.
    `applied` means that the message is saved, or adds nothing.

    `send_statuses` sends a number of equal statuses. Its first argument is true for the status `applied`.
    """

    def __init__(self, send_statuses: Callable[[bool, int], None]) -> None:
        super().__init__()
        self._send_statuses = send_statuses
        self._runs: deque[_Run] = deque()
        """The messages that still get the status `applied`. A viewer's edits may wait for days."""
        self._unanswered = 0
        """The number of these messages."""
        self._expects_step_2 = False
        self._is_counted = False
        """True when the client counts the present message as an unsynced change."""
        self._is_empty = False
        """True when the present message adds nothing."""

    def begin_sync(self) -> None:
        """Note a sync step 1 of the client. The client forgets its earlier count."""
        self._runs.clear()
        self._unanswered = 0
        self._expects_step_2 = True

    def begin_message(self, update: bytes, *, is_step_2: bool) -> None:
        """Note the document message that is handled next. Raises `Overloaded` when too many messages wait already."""
        if self._unanswered >= MAX_UNANSWERED or len(self._runs) >= MAX_RUNS:
            raise Overloaded(f"{self._unanswered} edits wait until they are saved")
        self._is_counted = not is_step_2 or self._expects_step_2
        # An update begins with the number of clients with structs. If this number is 0, the update has only deletions.
        # A sync step 2 contains all deletions that the client knows. The server already has them, except the
        # deletions of this client that are not saved.
        self._is_empty = is_step_2 and update[:1] == b"\0"
        if is_step_2:
            self._expects_step_2 = False

    def accept(self, *, is_step_2: bool) -> int:
        """Count the present message as accepted, and return its number."""
        number = super().accept(is_step_2=is_step_2)
        if self._is_counted:
            self._await_saved(number)
        return number

    def discard(self, *, is_step_2: bool) -> None:
        """Count the present message as discarded, and send its status: `applied` only if the message adds nothing."""
        super().discard(is_step_2=is_step_2)
        if self._is_counted:
            if not self._is_empty:
                self._await_saved(self.arrived)
            self._send_statuses(self._is_empty, 1)

    def send_saved(self, saved: int) -> None:
        """Send the status of each message up to the number `saved`."""
        count = 0
        while self._runs and (run := self._runs[0]).first <= saved:
            answered = min(run.count, saved - run.first + 1)
            count += answered
            run.first += answered
            run.count -= answered
            if not run.count:
                self._runs.popleft()
        if count:
            self._unanswered -= count
            self._send_statuses(True, count)

    def _await_saved(self, number: int) -> None:
        """Note that the message gets the status `applied` once it is saved."""
        self._unanswered += 1
        if self._runs and self._runs[-1].first + self._runs[-1].count == number:
            self._runs[-1].count += 1
        else:
            self._runs.append(_Run(number, 1))
