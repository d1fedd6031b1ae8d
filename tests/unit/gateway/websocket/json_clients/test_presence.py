"""The awareness state of a JSON client."""

import json
from typing import Any

import pytest

from svgx_common.contract.policy import Role
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket.json_clients.presence import JsonPresence
from svgx_yjs import awareness


@pytest.mark.parametrize(
    ("session_id", "expected"), [(None, {}), ("tab-1", {"session_id": "tab-1"})]
)
async def test_state_has_a_session_id_only_if_the_client_has_one(
    session_id: str | None, expected: dict[str, Any]
) -> None:
    """The activity cannot set the session id, and no `session_id` is null. Proves R-JSON-5."""
    updates: list[bytes] = []

    async def publish(update: bytes) -> None:
        updates.append(update)

    presence = JsonPresence(7, session_id, publish)
    await presence.report(Caller("u", "ann", Role.EDITOR, "s"), {"x": 1, "session_id": "other"})
    (state,) = awareness.decode(updates[0])
    user = {"id": "u", "name": "ann"}
    assert json.loads(state.json) == {"x": 1, "user": user, **expected}
