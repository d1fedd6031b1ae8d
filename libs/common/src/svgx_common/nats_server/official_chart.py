"""The users of a NATS server as values of the official Helm chart of NATS (`nats-io/k8s`, chart `nats` 1.x).

The chart writes the mapping `config.merge` into the server's configuration, as JSON. It removes the quotes around a
text in `<< >>`, so that the server replaces the variable in it.
"""

from svgx_common.contract.operation import SERVICES
from svgx_common.contract.permissions import MAX_RESPONSES, RESPONSE_SECONDS, permissions

PING_SECONDS, PING_MAX = 5, 2
"""Pings of the server. With the defaults of NATS, a frozen replica would get requests for six minutes."""


def values(secret: str) -> dict[str, object]:
    """Return the values. The secret has the services' public keys, as `nats-keys --format secret` prints it."""
    users = []
    for service in SERVICES:
        allowed = permissions(service)
        users.append(
            {
                "nkey": f"<< ${service.upper()}_NKEY >>",
                "permissions": {
                    "publish": list(allowed.publish),
                    "subscribe": list(allowed.subscribe),
                    "allow_responses": {"max": MAX_RESPONSES, "expires": f"{RESPONSE_SECONDS}s"},
                },
            }
        )
    variables = {
        f"{service.upper()}_NKEY": {
            "valueFrom": {"secretKeyRef": {"name": secret, "key": f"{service}-nkey"}}
        }
        for service in SERVICES
    }
    merged = {
        "ping_interval": f"{PING_SECONDS}s",
        "ping_max": PING_MAX,
        "authorization": {"users": users},
    }
    return {"config": {"merge": merged}, "container": {"env": variables}}
