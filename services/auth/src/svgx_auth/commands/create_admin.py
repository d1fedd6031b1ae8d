"""The command `create-admin`: create an account with the role admin, directly in the database."""

import argparse
from collections.abc import Sequence

from svgx_auth.commands import passwords
from svgx_auth.commands.database import open_accounts, origin, run
from svgx_auth.settings import AuthSettings
from svgx_common.contract.auth import CreateUserRequest
from svgx_common.contract.policy import Role
from svgx_common.settings import load


def main(arguments: Sequence[str]) -> None:
    """Create the admin. Print the password once if the command generated it."""
    parser = argparse.ArgumentParser("svgx-auth create-admin", description=__doc__)
    parser.add_argument("--username", required=True)
    parser.add_argument("--email", required=True)
    passwords.add_argument(parser)
    chosen = parser.parse_args(arguments)
    settings = load(AuthSettings)
    password, generated = passwords.choose(from_stdin=chosen.password_stdin)
    run("create-admin", settings, _create(settings, chosen.username, chosen.email, password))
    passwords.report(password, generated=generated)


async def _create(settings: AuthSettings, username: str, email: str, password: str) -> None:
    request = CreateUserRequest(username=username, email=email, password=password, role=Role.ADMIN)
    async with open_accounts(settings, announce=False) as (accounts, _):
        created = await accounts.create(request, origin("create-admin"))
    print(f"created the admin {created.username} ({created.id})")
