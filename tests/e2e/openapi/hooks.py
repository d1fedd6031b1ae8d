"""What schemathesis cannot know from the document. Loaded by `schemathesis run`, a process of its own."""

import json
import os
import re
import secrets
from typing import Any
from urllib.request import Request, urlopen

import schemathesis

URL = os.environ["SVGX_URL"]
USERNAME = os.environ.get("SVGX_USERNAME", "")
PASSWORD = os.environ.get("SVGX_PASSWORD", "")
ME = os.environ.get("SVGX_USER_ID", "")
"""The account that asks."""

GUESSING = "203.0.113.1"
"""The address that the requests come from, with all their wrong passwords."""

HOME = "198.51.100.1"
"""The address that whoever asks signs in from: wrong passwords from elsewhere make nobody wait there."""

VALID_KEY = re.compile(r"[!#-~]{1,255}")

UNSAYABLE = {
    "cursor": "made by the server, and by nobody else",
    "password": "not easy to guess",
    "new_password": "not easy to guess, and not the old one",
    "idempotency-key": "not used for another request",
    "svg": "an SVG document",
    "networks": "a network in CIDR notation",
    "users": "an account's id",
    "until": "between 1970 and 3000",
    "since": "between 1970 and 3000",
}
"""Fields of which a schema cannot say what is valid: 422 for one that fits the schema is no contradiction."""


if USERNAME:

    @schemathesis.auth()
    class SignedIn:
        """A session; a new one when what was sent has ended it."""

        def get(self, _: Any, __: Any) -> str:
            """An access token."""
            body = json.dumps({"username": USERNAME, "password": PASSWORD}).encode()
            headers = {
                "Content-Type": "application/json",
                "X-Forwarded-For": HOME,
            }
            with urlopen(Request(f"{URL}/auth/login", body, headers)) as answer:
                return str(json.load(answer)["access_token"])

        def set(self, case: Any, token: str, _: Any) -> None:
            """Send it."""
            case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def filter_failure(ctx: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one."""
    if type(failure).__name__ == "RejectedPositiveData" and response.status_code == 422:
        field = str(response.json().get("field"))
        return not any(part in UNSAYABLE for part in field.split("."))
    return True


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Whoever asks stays able to: does not take its own password away, or its own requests.

    Wrong passwords come from an address of their own: it has to wait, and nobody else.
    """
    case.headers["X-Forwarded-For"] = GUESSING
    if VALID_KEY.fullmatch(case.headers.get("Idempotency-Key", "")):
        # Sent again it would get the first one's answer, also about what has been deleted since.
        case.headers["Idempotency-Key"] = secrets.token_hex(8)
    body = case.body
    if not isinstance(body, dict):
        return
    if (
        case.operation.label == "PATCH /admin/users/{user_id}"
        and case.path_parameters.get("user_id") == ME
    ):
        for field in ("password", "username"):
            body.pop(field, None)
    if case.operation.label == "PUT /security/rate-limits/config/":
        networks = ["127.0.0.0/8", f"{GUESSING}/32", f"{HOME}/32"]
        body["whitelist"] = {"users": [ME], "networks": networks}
