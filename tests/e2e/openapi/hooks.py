"""The hooks of `schemathesis run`: log-in, and rules that the OpenAPI document cannot express."""

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
"""The id of the account that sends the requests."""

FUZZ_ADDRESS = "203.0.113.1"
"""The client address of all requests of schemathesis. Wrong passwords slow down log-ins from this address."""

LOGIN_ADDRESS = "198.51.100.1"
"""The client address of this file's log-ins, which wrong passwords from other addresses do not slow down."""

VALID_KEY = re.compile(r"[!#-~]{1,255}")

EXTRA_RULES = {
    "cursor": "created by the server",
    "username": "characters of RFC 8265",
    "email": "characters of RFC 8265",
    "name": "visible characters",
    "password": "not easy to guess",
    "new_password": "not easy to guess, and not the old one",
    "idempotency-key": "not used for another request",
    "svg": "an SVG document",
    "networks": "a network in CIDR notation",
    "users": "an account's id",
    "until": "between 1970 and 3000",
    "since": "between 1970 and 3000",
    "at": "a time in the canvas's history",
    "canvases": "ids of canvases",
    "url": "a host with a public address",
    "expires_at": "between 1970 and 3000, and in the future",
    "label": "visible characters",
    "confirm": "the id in the path",
    "transfer_to": "an account's id, and only for `transfer`",
    "canvas_id": "only for a backup of canvases",
    "owner_id": "only for a backup of canvases, without a canvas id",
    "base": "only for an incremental backup",
    "key": "not the key of a canvas",
    "state_type": "a type in the settings",
    "value": "at most 32 levels deep",
    "metadata": "at most 4096 bytes",
    "user_id": "not with a shared state type",
    "operations": "an allowed element, in a possible place",
    "data": "the fields of the event's operation",
    "object_id": "the root can only be updated",
    "scale": "not with a side of the picture",
}
"""Rules of fields that a JSON schema cannot express. A value that matches the schema may still get status 422."""


if USERNAME:

    @schemathesis.auth()
    class Login:
        """The log-in of schemathesis. schemathesis logs in again when a request has ended the session."""

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
    """Return whether to report a failure. A 422 for a field of `EXTRA_RULES` is not reported."""
    if type(failure).__name__ == "RejectedPositiveData" and response.status_code == 422:
        field = str(response.json().get("field"))
        return not any(part in EXTRA_RULES for part in re.split(r"[.\[]", field))
    return True


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Change requests that would prevent later requests from succeeding.

    The sending account must keep its password and its username, and must be exempt from rate limits. No request may
    set quotas. Every request gets the address `FUZZ_ADDRESS`, so that wrong passwords do not slow down the log-ins of
    this file.
    """
    case.headers["X-Forwarded-For"] = FUZZ_ADDRESS
    if VALID_KEY.fullmatch(case.headers.get("Idempotency-Key", "")):
        # A repeated key would return the stored first response, even if the created object has been deleted since.
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
    if case.operation.label == "PUT /security/quotas/config/":
        for field in ("account", "canvas", "roles", "users"):
            body.pop(field, None)
    if case.operation.label == "PUT /security/rate-limits/config/":
        networks = ["127.0.0.0/8", f"{FUZZ_ADDRESS}/32", f"{LOGIN_ADDRESS}/32"]
        body["whitelist"] = {"users": [USER_ID], "networks": networks}
