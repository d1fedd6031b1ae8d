"""Start the gateway, or one of its commands.

`python -m svgx_gateway` runs the gateway. With the argument `nats-keys` it prints new NATS keys for the services, and
with `nats-config` the users and permissions for the configuration of the NATS server.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_common.nats_server import commands as nats_commands
from svgx_common.runtime import run
from svgx_gateway.app import build
from svgx_gateway.settings import GatewaySettings


def main() -> None:
    """Run the gateway or a command."""
    run(
        "gateway",
        GatewaySettings,
        build,
        websocket=GatewaySettings.websocket_options,
        metrics_port=lambda settings: settings.metrics_port,
        commands={
            "nats-keys": nats_commands.print_keys,
            "nats-config": nats_commands.print_configuration,
        },
    )


if __name__ == "__main__":
    main()
