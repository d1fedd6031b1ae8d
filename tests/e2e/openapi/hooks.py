"""Schemathesis hooks: login, and rules that the OpenAPI document cannot express. `schemathesis run` loads this file."""

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
USER_ID = os.environ.get("SVGX_USER_ID", "")
"""The account that sends the requests."""

FUZZ_ADDRESS = "203.0.113.1"
"""The client address of all requests of schemathesis. Its wrong passwords slow down logins from this address."""

LOGIN_ADDRESS = "198.51.100.1"
"""The client address of this file's logins, which wrong passwords from other addresses do not slow down."""

VALID_KEY = re.compile(r"[!#-~]{1,255}")

EXTRA_RULES = {
    "cursor": "created by the server",
    "password": "not easy to guess",
    "new_password": "not easy to guess, and not the old one",
    "idempotency-key": "not used for another request",
    "svg": "an SVG document",
    "networks": "a network in CIDR notation",
    "users": "an account's id",
    "until": "between 1970 and 3000",
    "since": "between 1970 and 3000",
}
"""Rules of fields that a JSON schema cannot express. A value that matches the schema may still get status 422."""


if USERNAME:

    @schemathesis.auth()
    class Login:
        """The login of schemathesis. It logs in again if a request has ended the session."""

        def get(self, _: Any, __: Any) -> str:
            """Log in, and return the access token."""
            body = json.dumps({"username": USERNAME, "password": PASSWORD}).encode()
            headers = {
                "Content-Type": "application/json",
                "X-Forwarded-For": LOGIN_ADDRESS,
            }
            with urlopen(Request(f"{URL}/auth/login", body, headers)) as response:
                return str(json.load(response)["access_token"])

        def set(self, case: Any, token: str, _: Any) -> None:
            """Add the access token to a request."""
            case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def filter_failure(ctx: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return whether a failure counts."""
    if type(failure).__name__ == "RejectedPositiveData" and response.status_code == 422:
        field = str(response.json().get("field"))
        return not any(part in EXTRA_RULES for part in field.split("."))
    return True


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Change requests that would lock out the account that sends them.

    Such requests change its own password or username, or set a rate limit for its requests. Wrong passwords come from
    an address of their own, so that only logins from this address are slowed down.
    """
    case.headers["X-Forwarded-For"] = FUZZ_ADDRESS
    if VALID_KEY.fullmatch(case.headers.get("Idempotency-Key", "")):
        # A repeated key would get the response of the first request, even after a deletion.
        case.headers["Idempotency-Key"] = secrets.token_hex(8)
    body = case.body
    if not isinstance(body, dict):
        return
    if (
        case.operation.label == "PATCH /admin/users/{user_id}"
        and case.path_parameters.get("user_id") == USER_ID
    ):
        for field in ("password", "username"):
            body.pop(field, None)
    if case.operation.label == "PUT /security/rate-limits/config/":
        networks = ["127.0.0.0/8", f"{FUZZ_ADDRESS}/32", f"{LOGIN_ADDRESS}/32"]
        body["whitelist"] = {"users": [USER_ID], "networks": networks}
