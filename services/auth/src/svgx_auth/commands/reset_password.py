"""The command `reset-password`: replace a lost password in the database, and end the account's sessions."""

import argparse
from collections.abc import Sequence

from svgx_auth.commands import passwords
from svgx_auth.commands.database import open_accounts, origin, run
from svgx_auth.settings import AuthSettings
from svgx_common.contract.auth import UpdateUserRequest
from svgx_common.contract.errors import NotFound
from svgx_common.settings import load


def main(arguments: Sequence[str]) -> None:
    """Set the password. Print the password once if the command generated it."""
    parser = argparse.ArgumentParser("svgx-auth reset-password", description=__doc__)
    parser.add_argument("username", help="the username or the e-mail address of the account")
    parser.add_argument(
        "--enable", action="store_true", help="enable the account if it is disabled"
    )
    passwords.add_argument(parser)
    chosen = parser.parse_args(arguments)
    settings = load(AuthSettings)
    password, generated = passwords.choose(from_stdin=chosen.password_stdin)
    run("reset-password", settings, _reset(settings, chosen.username, password, chosen.enable))
    passwords.report(password, generated=generated)


async def _reset(settings: AuthSettings, username: str, password: str, enable: bool) -> None:
    async with open_accounts(settings, announce=True) as (accounts, administration):
        account = await accounts.by_login(username)
        if account is None:
            raise NotFound("there is no account with this username or e-mail address")
        request = UpdateUserRequest(
            user_id=account.user.id, password=password, disabled=False if enable else None
        )
        changed = await administration.update(request, origin("reset-password"))
    print(f"set the password of {changed.username} ({changed.role}); its sessions have ended")
    if changed.disabled:
        print("The account is disabled: run the command with --enable, or let an admin enable it.")
