"""The users of a NATS server: one for each service, with exactly the subjects of the contract."""

from collections.abc import Callable, Iterable

from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.permissions import MAX_RESPONSES, RESPONSE_SECONDS, permissions
from svgx_common.nats_server.names import variable


def users_configuration(
    credentials: Callable[[ServiceName], str], more_users: Iterable[str] = ()
) -> str:
    """Return the block `authorization` of a NATS configuration file.

    `credentials` returns a service's lines, such as `nkey: UBX…`. `more_users` are further users, each in braces.
    """
    users = (*(_user(service, credentials(service)) for service in SERVICES), *more_users)
    return "authorization {\n  users: [\n" + "".join(f"    {user}\n" for user in users) + "  ]\n}\n"


def credentials_as_variables(service: ServiceName) -> str:
    """Return a user's line with a variable of the server in place of the public key, such as `nkey: $AUTH_NKEY`."""
    return f"nkey: ${variable(service, 'nkey')}"


def second_users() -> list[str]:
    """Return a second user for each service, with equal rights and the key of a variable such as `AUTH_SECOND_NKEY`."""
    return [_user(service, f"nkey: ${variable(service, 'second-nkey')}") for service in SERVICES]


def _user(service: ServiceName, credentials: str) -> str:
    allowed = permissions(service)
    return f"""{{
      {credentials}
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
