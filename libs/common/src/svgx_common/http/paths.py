"""Paths of requests as they were sent, so that an encoded slash is never taken for a slash."""

from collections.abc import Mapping
from urllib.parse import quote, unquote

from starlette.types import Scope


def sent_path(scope: Scope) -> str:
    """Return the path of a request or WebSocket without decoding it, and without its trailing slash.

    Proxies and this server then agree on the segments of the path: `/metrics%2Fprometheus` has one segment.
    """
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    return path.removesuffix("/")


def decode_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a path's fields, each decoded by itself. A decoded value may contain a slash."""
    return {name: unquote(value) for name, value in fields.items()}
