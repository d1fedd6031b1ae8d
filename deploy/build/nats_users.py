"""Write the users of NATS, each with exactly the subjects of the contract, for the umbrella chart.

The public keys of the services come from environment variables of the server, such as `AUTH_NKEY`.
"""

from collections.abc import Iterable
from pathlib import Path

from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.permissions import MAX_RESPONSES, RESPONSE_SECONDS, permissions

PATH = Path(__file__).parents[1] / "helm" / "svgx" / "files" / "nats-users.conf"


def users_configuration() -> str:
    """Return the `authorization` block of a NATS configuration file."""
    users = "\n".join(_user(service) for service in SERVICES)
    return f"authorization {{\n  users: [\n{users}\n  ]\n}}\n"


def _user(service: ServiceName) -> str:
    allowed = permissions(service)
    return f"""\
    {{
      nkey: ${service.upper()}_NKEY
      permissions: {{
        publish: [{_subjects(allowed.publish)}
        ]
        subscribe: [{_subjects(allowed.subscribe)}
        ]
        allow_responses: {{max: {MAX_RESPONSES}, expires: "{RESPONSE_SECONDS}s"}}
      }}
    }}"""


def _subjects(subjects: Iterable[str]) -> str:
    return "".join(f'\n          "{subject}"' for subject in subjects)


if __name__ == "__main__":
    PATH.write_text(users_configuration(), encoding="utf-8")
