"""Whether anything secret is in what a stack has written."""

import re
from urllib.request import urlopen

from svgx_devstack import DevStack, services

JWT = re.compile(r"eyJ[\w-]{8,}\.")
API_KEY = re.compile(r"svgx_[0-9a-f]+_[\w-]{20,}")
PASSWORD = "the password of "
"""What the passwords of the tests' accounts begin with."""
OPAQUE: set[str] = set()
"""Refresh tokens and codes that the tests were given: nothing in them says what they are."""


def find(stack: DevStack) -> list[str]:
    """Where an access token, an API key or a password is: logs and metrics of every process."""
    texts = {name: stack.log_path(name).read_text(errors="replace") for name in _names(stack)}
    for name in texts.keys() & set(services.NAMES):
        with urlopen(
            f"{stack.service_url(name)}/metrics/prometheus", timeout=10
        ) as answer:  # loopback
            texts[f"{name}'s metrics"] = answer.read().decode()
    secrets = (stack.admin_password, PASSWORD, *OPAQUE)
    return [
        name
        for name, text in texts.items()
        if JWT.search(text) or API_KEY.search(text) or any(secret in text for secret in secrets)
    ]


def _names(stack: DevStack) -> list[str]:
    return [process.name for process in stack.processes]
