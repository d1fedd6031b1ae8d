"""The security schemes of the OpenAPI document: the credentials with which a request names its caller."""

from typing import Any

SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token or an API key.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key or an access token. Ignored if the request also has `Authorization`.",
    },
    "share_link": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Share-Link",
        "description": "The token of a share link, which needs no account. If the request also has an access "
        "token or an API key, the higher of the account's role and the link's role on the canvas counts.",
    },
}

SIGNED_IN: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}]
"""The security of operations and pages that need a caller: one of the schemes is enough."""

WITH_LINK: list[dict[str, list[str]]] = [*SIGNED_IN, {"share_link": []}]
"""The security of operations that also accept a share link: one of the schemes is enough."""
