"""The headers of a request in a dictionary, because many headers of each request are looked up.

At each look-up, Starlette compares the name with each header in turn, and decodes the headers.
"""

from starlette.types import Scope

_KEY = "svgx.fields"


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request by their names in lower case. Of a repeated header, the first value counts."""
    fields: dict[bytes, bytes] | None = scope.get(_KEY)
    if fields is None:
        fields = scope[_KEY] = dict(reversed(scope["headers"]))
    return fields


def text_of(scope: Scope, name: bytes, default: str = "") -> str:
    """Return the value of a header, or `default` if the request does not have the header."""
    value = fields_of(scope).get(name)
    return default if value is None else value.decode("latin-1")
