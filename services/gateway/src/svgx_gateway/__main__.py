"""Start the gateway: `python -m svgx_gateway`."""

from svgx_common.runtime import run
from svgx_gateway.app import build
from svgx_gateway.settings import GatewaySettings

if __name__ == "__main__":
    run(
        "gateway",
        GatewaySettings,
        build,
        websocket=GatewaySettings.websocket_options,
        metrics_port=lambda settings: settings.metrics_port,
    )
