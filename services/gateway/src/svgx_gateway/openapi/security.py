"""The ways in which a request names its caller, in the OpenAPI document."""

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
        "description": "An API key or an access token. Ignored beside `Authorization`.",
    },
}

SIGNED_IN: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}]
"""The security of operations and pages that need a caller: one of the schemes is enough."""
