"""Start the gateway, or one of its commands.

`python -m svgx_gateway` runs the gateway. Its commands:

- `nats-keys` prints new NATS keys for the services.
- `nats-config` prints the users and permissions for the configuration of the NATS server.
- `nats-rotate` replaces the keys step by step.
- `doctor` checks the settings and the servers that the gateway needs.
"""

import svgx_common.quick_imports  # noqa: F401  # before all other imports

# isort: split

from svgx_common.doctor.command import doctor_command
from svgx_common.nats_server import commands as nats_commands
from svgx_common.nats_server import rotation
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
            "doctor": doctor_command("gateway", GatewaySettings),
            "nats-keys": nats_commands.print_keys,
            "nats-config": nats_commands.print_configuration,
            "nats-rotate": rotation.rotate,
        },
    )


if __name__ == "__main__":
    main()
