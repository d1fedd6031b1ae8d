"""Examples of requests for the page `/docs`: one value for each field name, in all operations.

Tests send each operation with its example, and fail when a required field has no example.
"""

from typing import Any

from svgx_common.contract.operation import Http, Operation, RawRequest

FIELDS: dict[str, Any] = {
    "canvas_id": "2f1c7a52-9a5e-4a3b-8a6e-6f0f3f0f9b1d",
    "email": "ada@example.org",
    "format": "svg",
    "key_id": "5d0f8a43-7c1e-4b7f-9d0a-3e2c1b0a9f8e",
    "limit": 50,
    "limits": {"read": {"requests": 300, "seconds": 60}},
    "minutes": 60,
    "name": "Floor plan",
    "new_password": "seven teal lanterns over Delft",
    "old_password": "correct horse battery staple",
    "provider": "corporate",
    "password": "correct horse battery staple",
    "refresh_token": "hXt0Y1m3pJkq9c1n2Zb4uR7s8wV5x6y7aBcDeFgHiJk",
    "role": "editor",
    "roles": {"admin": {"read": {"requests": 1000, "seconds": 60}}},
    "session_id": "c3a1d9e2-8f4b-4e57-a6c0-7b5d2e1f0a94",
    "user_id": "9b8f6e1c-2d7a-4c55-9f0e-1a2b3c4d5e6f",
    "username": "ada",
    "whitelist": {"users": [], "networks": ["10.0.0.0/8"]},
}

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    '<circle cx="50" cy="50" r="40" fill="teal"/></svg>'
)


def body(operation: Operation[Any, Any], http: Http) -> dict[str, Any] | str:
    """Return an example of the request body."""
    if issubclass(operation.request, RawRequest):
        return SVG
    return {
        name: FIELDS[name]
        for name in operation.request.model_fields
        if name in FIELDS and name not in http.path_fields
    }


def missing(operation: Operation[Any, Any]) -> list[str]:
    """Return the required fields that have no example."""
    fields = operation.request.model_fields.items()
    return [name for name, field in fields if field.is_required() and name not in FIELDS]
