"""The settings of the command: the variables of the environment with the URL and the credentials."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from svgx_client.client import Client

VARIABLES = """\
environment variables:
  SVGX_URL                        the gateway, such as https://svgx.example.org
  SVGX_API_KEY                    an API key; the best credential for scripts
  SVGX_TOKEN                      an access token
  SVGX_USERNAME, SVGX_PASSWORD    an account; the command logs in, and logs out at its end
  SVGX_LINK                       a share link's token, alone or with another credential

Use one of API key, token and account. Without them and without a share link, SVGX_ADMIN_USERNAME and
SVGX_ADMIN_PASSWORD are used if SVGX_URL is on this machine. Credentials are never arguments, because other users of
the machine can see arguments."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class SettingsError(Exception):
    """The environment does not say which server or which credentials to use."""


class _Account(NamedTuple):
    username: str | None
    password: str | None


def client_of(environment: Mapping[str, str]) -> Client:
    """Return a client with the URL and the credentials of the environment. Raise `SettingsError`."""
    variables = {name: value for name, value in environment.items() if value}
    url = variables.get("SVGX_URL")
    if url is None:
        raise SettingsError(
            "SVGX_URL is not set; set it to the gateway, such as http://localhost:8000"
        )
    given = [name for name in ("SVGX_TOKEN", "SVGX_API_KEY", "SVGX_USERNAME") if name in variables]
    if len(given) > 1:
        raise SettingsError(f"set only one of {', '.join(given)}")
    if ("SVGX_USERNAME" in variables) != ("SVGX_PASSWORD" in variables):
        raise SettingsError("set SVGX_USERNAME and SVGX_PASSWORD together")
    account = _account(variables, url)
    try:
        return Client(
            url,
            token=variables.get("SVGX_TOKEN"),
            api_key=variables.get("SVGX_API_KEY"),
            username=account.username,
            password=account.password,
            link=variables.get("SVGX_LINK"),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _account(variables: Mapping[str, str], url: str) -> _Account:
    """Return the account of the environment, or the admin of a development stack.

    The admin's password is sent only to this machine, because a service's environment may contain this password and
    the URL of another server.
    """
    own = _Account(variables.get("SVGX_USERNAME"), variables.get("SVGX_PASSWORD"))
    credentials = ("SVGX_TOKEN", "SVGX_API_KEY", "SVGX_USERNAME", "SVGX_PASSWORD", "SVGX_LINK")
    if any(name in variables for name in credentials) or _host(url) not in _LOOPBACK:
        return own
    admin = _Account(variables.get("SVGX_ADMIN_USERNAME"), variables.get("SVGX_ADMIN_PASSWORD"))
    return own if None in admin else admin


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None  # the client refuses the URL
