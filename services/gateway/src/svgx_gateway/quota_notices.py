"""Sends clients notices about their quotas, and asks for refused edits when the quotas allow these edits again."""

from collections import Counter

from prometheus_client import Gauge

from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import close_code_of_canvas
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.storage.quotas import QuotaStatus
from svgx_gateway.quotas.enforcement import QuotaEnforcement
from svgx_gateway.quotas.watch import QuotaWatch
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.live_canvases import LiveCanvases

EDITORS = Gauge(
    "svgx_engine_quota_editors",
    "Connected accounts by the status of their most used quota: near (80 %), slowed (90 %) or over.",
    ["status"],
)
_COUNTED_STATUSES = (QuotaStatus.NEAR, QuotaStatus.SLOWED, QuotaStatus.OVER)
for _status in _COUNTED_STATUSES:
    EDITORS.labels(_status.value)


class QuotaNotices:
    """The notices of one gateway. After each report about quotas, all open connections are checked."""

    def __init__(
        self, watch: QuotaWatch, enforcement: QuotaEnforcement, live_canvases: LiveCanvases
    ) -> None:
        self._enforcement = enforcement
        self._live_canvases = live_canvases
        self._background = BackgroundTasks()
        watch.on_change(self.update_all)

    async def stop(self) -> None:
        """Stop asking clients for edits."""
        await self._background.stop()

    def update_all(self) -> None:
        """Send each editor its changed quota status. Ask for refused edits that would now be accepted."""
        accounts: dict[str, QuotaStatus] = {}
        for canvas_id, connection in self._live_canvases.connections():
            if not connection.may_edit:
                continue
            use = self._enforcement.most_used(connection.caller, canvas_id)
            connection.tell_quota(use)
            status = QuotaStatus.BELOW if use is None else use.status
            accounts[connection.caller.user_id] = max(
                status, accounts.get(connection.caller.user_id, status), key=list(QuotaStatus).index
            )
            if connection.has_refused_edits and status is not QuotaStatus.OVER:
                connection.has_refused_edits = False
                canvas = self._live_canvases.live(canvas_id)
                if canvas is not None:
                    self._background.start(
                        "ask for refused edits", _ask_for_edits(canvas, connection)
                    )
        counts = Counter(accounts.values())
        for each in _COUNTED_STATUSES:
            EDITORS.labels(each.value).set(counts[each])


async def _ask_for_edits(canvas: LiveCanvas, connection: Connection) -> None:
    """Ask a client for the edits that were refused."""
    try:
        await canvas.request_client_state(connection)
    except SvgxError as error:
        connection.close(close_code_of_canvas(error), error.detail)
