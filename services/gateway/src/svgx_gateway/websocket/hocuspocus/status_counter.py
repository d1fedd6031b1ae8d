"""The status counter: which document messages of a Hocuspocus client get a sync status, and when. No I/O."""

from collections import deque
from collections.abc import Callable

from svgx_gateway.websocket.trackers.saved_counter import SavedCounter


class StatusCounter(SavedCounter):
    """The saved counter of a client that expects one status for each document message that the client counts.

    The client counts its unsynced changes (HocuspocusProvider.ts, `unsyncedChanges`): each update adds one, a sync step
    1 sets the number to one, and each status `applied` takes one away. So the server sends one status for each update,
    and one for the first sync step 2 after each sync step 1 of the client. Further sync steps 2 get no status.
    `applied` means that the message is saved, or adds nothing.
    """

    def __init__(self, send_status: Callable[[bool], None]) -> None:
        super().__init__()
        self._send_status = send_status
        self._unanswered: deque[int] = deque()
        """Numbers of the messages that still get the status `applied`."""
        self._expects_step_2 = False
        self._is_counted = False
        """True when the client counts the present message as an unsynced change."""
        self._is_empty = False
        """True when the present message adds nothing."""

    def begin_sync(self) -> None:
        """Note a sync step 1 of the client. The client forgets its earlier count."""
        self._unanswered.clear()
        self._expects_step_2 = True

    def begin_message(self, update: bytes, *, is_step_2: bool) -> None:
        """Note the document message that is handled next."""
        self._is_counted = not is_step_2 or self._expects_step_2
        # An update begins with the number of clients with structs. If this number is 0, the update has only deletions.
        # The server already has the deletions of a sync step 2, unless the client has deleted something meanwhile.
        self._is_empty = is_step_2 and update[:1] == b"\0"
        if is_step_2:
            self._expects_step_2 = False

    def accept(self, *, is_step_2: bool) -> int:
        """Count the present message as accepted, and return its number."""
        number = super().accept(is_step_2=is_step_2)
        if self._is_counted:
            self._unanswered.append(number)
        return number

    def discard(self, *, is_step_2: bool) -> None:
        """Count the present message as discarded, and send its status: `applied` only if the message adds nothing."""
        super().discard(is_step_2=is_step_2)
        if self._is_counted:
            if not self._is_empty:
                self._unanswered.append(self.arrived)
            self._send_status(self._is_empty)

    def send_saved(self, saved: int) -> None:
        """Send the status of each message up to the number `saved`."""
        while self._unanswered and self._unanswered[0] <= saved:
            self._unanswered.popleft()
            self._send_status(True)
