"""The reason for the refusal of a revoked credential, and for the close of its live connections."""

import time
from datetime import UTC, datetime
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Unauthenticated
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.revocations import Revocation, RevocationList
from svgx_common.contract.state import Access
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.identity.revocations import ACCOUNT_CHANGED, Revocations
from svgx_gateway.websocket.connection import Closing, Connection
from svgx_gateway.websocket.live_canvases import LiveCanvases
from tests.unit.gateway.message_spans import message_spans

LATER = time.time() + 3600
SESSION = Revocation(user_id="u", session_id="s", until=LATER, reason="ended")
ACCOUNT = Revocation(user_id="u", before_version=2, until=LATER, reason="account")
OTHER = Revocation(user_id="other", before_version=2, until=LATER, reason="account")


class FakeBus:
    """A bus on which the auth service has these revocations, and every caller is an editor."""

    service = "gateway"
    replica_id = "one"

    def __init__(self, items: list[Revocation]) -> None:
        self._items = items
        self.spans = message_spans()

    def on_reconnect(self, _: object) -> None:
        pass

    async def listen(self, *_: object, **__: object) -> "FakeBus":
        return self

    async def unsubscribe(self) -> None:
        pass

    async def ask(self, operation: object, request: object, **_: object) -> object:
        if type(request).__name__ == "ListRevocationsRequest":
            return RevocationList(items=self._items, as_of=datetime.now(UTC))
        return Access(role=CanvasRole.EDITOR)


@pytest.mark.parametrize(
    ("item", "by_key", "refusal", "closing"),
    [
        (
            SESSION,
            False,
            "the access token has been revoked; refresh it, or log in",
            Closing(Close.UNAUTHENTICATED, "the access token has been revoked"),
        ),
        (
            ACCOUNT,
            False,
            "the access token has been revoked; refresh it, or log in",
            Closing(Close.UNAUTHENTICATED, "the access token has been revoked"),
        ),
        (
            SESSION,
            True,
            "the API key has been revoked",
            Closing(Close.UNAUTHENTICATED, "the API key has been revoked"),
        ),
        (ACCOUNT, True, ACCOUNT_CHANGED, Closing(Close.RESTARTING, ACCOUNT_CHANGED)),
        (OTHER, True, None, None),
        (OTHER, False, None, None),
    ],
)
async def test_revocation_names_the_credential(
    item: Revocation, by_key: bool, refusal: str | None, closing: Closing | None
) -> None:
    """An API key stays valid after a change of its account, so the close code is not final.

    The gateway refuses only its outdated copy of the caller, and asks auth about the key again. Proves R-SOCKET-1.
    """
    bus = cast(Bus, FakeBus([item]))
    caller = Caller("u", "ann", Role.EDITOR, "s", token_version=1, by_key=by_key)
    revocations = Revocations(bus)
    await revocations.start()
    canvases = LiveCanvases(bus, CanvasRoles(bus))
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=False)
    try:
        canvas = await canvases.join("00000000-0000-0000-0000-000000000001", connection)
        canvases.close_revoked(revocations.reason)
        assert (connection.closing.result() if connection.closing.done() else None) == closing
        await canvases.leave(canvas, connection)
        if refusal is None:
            revocations.check(caller)
        else:
            with pytest.raises(Unauthenticated) as refused:
                revocations.check(caller)
            assert refused.value.detail == refusal
    finally:
        await canvases.stop()
        await revocations.stop()
