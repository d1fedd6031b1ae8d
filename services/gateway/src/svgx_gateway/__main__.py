"""`python -m svgx_gateway`."""

from svgx_common.runtime import WebSocketLimits, run
from svgx_gateway.app import build
from svgx_gateway.settings import GatewaySettings


def _websocket(settings: GatewaySettings) -> WebSocketLimits:
    return WebSocketLimits(
        max_bytes=settings.websocket_max_frame_bytes,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
    )


if __name__ == "__main__":
    run("gateway", GatewaySettings, build, _websocket)
