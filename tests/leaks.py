"""Search for secrets in the logs and metrics of a stack."""

import re
from urllib.request import urlopen

from svgx_devstack import DevStack, services

JWT = re.compile(r"eyJ[\w-]{8,}\.")
API_KEY = re.compile(r"svgx(?:link)?_[0-9a-f]+_[\w-]{20,}")
PASSWORD_PREFIX = "the password of "
"""The first characters of the passwords that `ApiSession.create_user` gives to test accounts."""
OPAQUE_SECRETS: set[str] = set()
"""Refresh tokens, authorization codes, API keys and passwords that tests register here.

Most of them have no pattern by which `find_leaks` could recognise them."""


def find_leaks(stack: DevStack) -> list[str]:
    """Return the names of the logs and metrics pages that contain a token, an API key or another secret."""
    texts = {
        process.name: stack.log_path(process.name).read_text(errors="replace")
        for process in stack.processes
    }
    for name in texts.keys() & set(services.NAMES):
        with urlopen(f"{stack.service_url(name)}/metrics/prometheus", timeout=10) as response:
            texts[f"{name}'s metrics"] = response.read().decode()
    secrets = (stack.admin_password, PASSWORD_PREFIX, *OPAQUE_SECRETS)
    return [
        name
        for name, text in texts.items()
        if JWT.search(text) or API_KEY.search(text) or any(secret in text for secret in secrets)
    ]
