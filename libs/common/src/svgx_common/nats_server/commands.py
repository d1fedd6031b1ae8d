"""Commands that print keys and users for a NATS server. The gateway has them as `nats-keys` and `nats-config`."""

import argparse
import json
import secrets
from collections.abc import Sequence

from svgx_common.contract.operation import SERVICES
from svgx_common.nats_server import official_chart
from svgx_common.nats_server.names import entry, variable
from svgx_common.nats_server.nkeys import UserKey
from svgx_common.nats_server.users import (
    credentials_as_variables,
    second_users,
    users_configuration,
)


def print_keys(arguments: Sequence[str]) -> None:
    """Print a new key for each service: its seed for the service, and its public key for the server."""
    parser = argparse.ArgumentParser("nats-keys", description=print_keys.__doc__)
    parser.add_argument(
        "--format",
        choices=["env", "secret"],
        default="env",
        help="lines for an .env file, or a Kubernetes secret for kubectl apply",
    )
    parser.add_argument("--name", default="svgx-nats", help="name of the Kubernetes secret")
    chosen = parser.parse_args(arguments)
    keys = {service: UserKey.generate() for service in SERVICES}
    if chosen.format == "env":
        for service, key in keys.items():
            print(f"{variable(service, 'nkey')}={key.public}")
            print(f"{variable(service, 'seed')}={key.seed}")
        return
    # The password with which the servers of a cluster join each other.
    data = {"cluster-password": secrets.token_hex(24)}
    for service, key in keys.items():
        data |= {entry(service, "nkey"): key.public, entry(service, "seed"): key.seed}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": chosen.name},
        "stringData": data,
    }
    print(json.dumps(secret, indent=2))


def print_configuration(arguments: Sequence[str]) -> None:
    """Print the users of a NATS server, with exactly the subjects that each service needs.

    The server reads the public keys from its environment: AUTH_NKEY, COLLAB_NKEY, GATEWAY_NKEY, STATE_NKEY. With
    `--second-keys` it also reads AUTH_SECOND_NKEY and so on, while the keys are replaced (`nats-rotate`).
    """
    parser = argparse.ArgumentParser("nats-config", description=print_configuration.__doc__)
    parser.add_argument(
        "--format",
        choices=["server", "chart"],
        default="server",
        help="the block `authorization` of the server's configuration file, or values of the official Helm chart",
    )
    parser.add_argument(
        "--secret", default="svgx-nats", help="name of the Kubernetes secret with the public keys"
    )
    parser.add_argument(
        "--second-keys",
        action="store_true",
        help="a second key for each service, with equal rights",
    )
    chosen = parser.parse_args(arguments)
    if chosen.format == "chart":
        values = official_chart.values(chosen.secret, second_keys=chosen.second_keys)
        print(json.dumps(values, indent=2))
        return
    second = second_users() if chosen.second_keys else []
    print(users_configuration(credentials_as_variables, second), end="")
