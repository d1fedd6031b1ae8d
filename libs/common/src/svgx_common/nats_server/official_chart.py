"""The users of a NATS server as values of the official Helm chart of NATS (`nats-io/k8s`, chart `nats` 1.x).

The chart writes the mapping `config.merge` into the server's configuration, as JSON. It removes the quotes around a
text in `<< >>`, so that the server replaces the variable in it.
"""

from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.permissions import MAX_RESPONSES, RESPONSE_SECONDS, permissions
from svgx_common.nats_server.names import entry, variable
from svgx_common.nats_server.pings import PING_MAX, PING_SECONDS


def values(secret: str, *, second_keys: bool = False) -> dict[str, object]:
    """Return the values of the chart.

    `secret` is the name of the Kubernetes secret with the services' public keys (see `nats-keys --format secret`). With
    `second_keys` the server also accepts the second key of each service, which `nats-rotate` adds to the secret.
    """
    users = []
    variables = {}
    for kind in ("nkey", "second-nkey") if second_keys else ("nkey",):
        for service in SERVICES:
            name = variable(service, kind)
            users.append({"nkey": f"<< ${name} >>", "permissions": _permissions(service)})
            variables[name] = {
                "valueFrom": {"secretKeyRef": {"name": secret, "key": entry(service, kind)}}
            }
    merged = {
        "ping_interval": f"{PING_SECONDS}s",
        "ping_max": PING_MAX,
        "authorization": {"users": users},
    }
    return {"config": {"merge": merged}, "container": {"env": variables}}


def _permissions(service: ServiceName) -> dict[str, object]:
    allowed = permissions(service)
    return {
        "publish": list(allowed.publish),
        "subscribe": list(allowed.subscribe),
        "allow_responses": {"max": MAX_RESPONSES, "expires": f"{RESPONSE_SECONDS}s"},
    }
