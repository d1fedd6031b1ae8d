"""The presence of a JSON client: the awareness state that the gateway publishes for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic_core import to_json

from svgx_common.background import BackgroundTasks
from svgx_common.contract.errors import Invalid
from svgx_common.contract.live.json_messages import MAX_ACTIVITY_BYTES
from svgx_common.messaging.caller import Caller
from svgx_common.timing.bounded_wait import wait_at_most
from svgx_yjs import awareness
from svgx_yjs.awareness import Entry, State
from svgx_yjs.lib0 import Malformed

RENEWAL_SECONDS = 15.0
"""Seconds between two renewals of a client's state. The holder removes a state after 30 s without a renewal."""

Publish = Callable[[bytes], Awaitable[None]]
"""A function that publishes an awareness update as the client's own."""


class JsonPresence:
    """Publishes and renews the awareness state of one JSON client.

    The state has the members of the client's activity, its `session_id` if it has one, and in `user` the id and name of
    its account. A visitor has no account, and chooses the name by itself.
    """

    def __init__(self, client: int, session_id: str | None, publish: Publish) -> None:
        self._client = client
        self._session_id = session_id
        self._publish = publish
        self._clock = 0
        """The clock of the newest state."""
        self._state = "{}"
        self._renewal_due = asyncio.Event()
        self._tasks = BackgroundTasks()

    def start(self) -> None:
        """Renew the state from now on."""
        self._tasks.repeat("renew the presence of a JSON client", self._renew)

    async def stop(self) -> None:
        """Stop the renewals."""
        await self._tasks.stop()

    async def report(self, caller: Caller, activity: Mapping[str, Any]) -> None:
        """Publish the client's activity. Raises `Invalid` if it is too large, or has a number that is not JSON."""
        text = to_json(activity)
        if len(text) > MAX_ACTIVITY_BYTES:
            raise Invalid(
                f"activity: must have at most {MAX_ACTIVITY_BYTES} bytes",
                field="activity",
                limit=MAX_ACTIVITY_BYTES,
            )
        try:
            Entry(self._client, 0, text).read()
        except Malformed:
            raise Invalid("activity: must have no NaN or Infinity", field="activity") from None
        user = _user(caller, activity.get("user"))
        state = {**activity, "user": user}
        state.pop("session_id", None)
        if self._session_id is not None:
            state["session_id"] = self._session_id
        self._state = to_json(state).decode()
        await self._publish_state()

    def renew_soon(self) -> None:
        """Publish the state again, because another client asks for it."""
        self._renewal_due.set()

    async def _renew(self) -> None:
        await wait_at_most(self._renewal_due, RENEWAL_SECONDS)
        self._renewal_due.clear()
        await self._publish_state()

    async def _publish_state(self) -> None:
        self._clock += 1
        state = State(self._client, self._clock, self._state)
        await self._publish(awareness.encode([state]))


def _user(caller: Caller, shown: Any) -> dict[str, Any]:
    """Return the field `user` of a client that shows `shown` in this field."""
    fields = shown if isinstance(shown, Mapping) else {}
    name = caller.username
    if caller.is_visitor and isinstance(fields.get("name"), str):
        name = fields["name"]
    return {**fields, "id": caller.user_id, "name": name}
