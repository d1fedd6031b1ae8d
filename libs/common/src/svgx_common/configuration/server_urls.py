"""The URLs of NATS, PostgreSQL and Redis, checked before the client libraries parse them.

The libraries report a wrong URL late, and some read a part of a password as a host. The error messages of this module
contain no part of a URL, because the part may be a password.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]@,]*)(?::([0-9]{1,5}))?")
_HIGHEST_PORT = 65535

_NATS_FORM = "must be like nats://user:password@host:4222, with special characters as %XX"
_POSTGRES_FORM = (
    "must be like postgresql://user:password@host:5432/database, with special characters as %XX"
)
_REDIS_FORM = "must be like redis://user:password@host:6379/0, with special characters as %XX"

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSION_ATTRIBUTES = (
    "any",
    "primary",
    "standby",
    "read-write",
    "read-only",
    "prefer-standby",
)
_POSTGRES_FILES = ("sslcert", "sslkey", "sslrootcert", "sslcrl")

_REDIS_PARAMETERS: dict[str, str] = {
    "db": r"[0-9]{1,5}",
    "protocol": r"[23]",
    "username": r".*",
    "password": r".*",
    "client_name": r"\S*",
    "socket_keepalive": r"(?i)true|false|yes|no|0|1",
    "health_check_interval": r"[0-9]{1,5}",
}
"""The parameters that a Redis URL may have, each with the pattern of its value."""

_REDIS_TLS_PARAMETERS: dict[str, str] = {
    "ssl_cert_reqs": r"none|optional|required",
    "ssl_check_hostname": r"(?i)true|false|yes|no|0|1",
    "ssl_ca_certs": r".+",
    "ssl_ca_path": r".+",
    "ssl_certfile": r".+",
    "ssl_keyfile": r".+",
    "ssl_password": r".*",
}
"""The parameters that a `rediss` URL may have in addition."""


@dataclass(frozen=True, slots=True)
class NatsServers:
    """The servers of one NATS system: URLs without credentials, and the decoded credentials.

    Either `user` and `password` are set, or only `token`, or none of the three.
    """

    urls: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    token: str | None = None


def parse_nats(text: str) -> NatsServers:
    """Return the servers of a `NATS_URL`, which is one URL, or several separated by commas.

    nats-py sends the credentials of a URL as they are written, without decoding %XX. It sends no credentials to servers
    that it discovers later. So the credentials are decoded here, and must be the same for all servers. Raise
    `ValueError` for a wrong URL and for different credentials.
    """
    urls: list[str] = []
    credentials: set[tuple[str | None, str | None, str | None]] = set()
    for each in text.split(","):
        parts = _split(each, ("nats", "tls"), _NATS_FORM)
        user_info, _, address = parts.netloc.rpartition("@")
        has_rest = parts.path not in ("", "/") or parts.query or parts.fragment
        if has_rest or not _is_address(address, host_required=True):
            raise ValueError(_NATS_FORM)
        urls.append(f"{parts.scheme}://{address}")
        if "@" in parts.netloc:
            credentials.add(_nats_credentials(user_info))
    if len(credentials) > 1:
        raise ValueError("all servers must have the same user and password")
    user, password, token = credentials.pop() if credentials else (None, None, None)
    return NatsServers(tuple(urls), user, password, token)


def check_nats(text: str) -> str:
    """Return a `NATS_URL` without surrounding spaces. Raise `ValueError` for a wrong URL."""
    parse_nats(text.strip())
    return text.strip()


def check_postgres(text: str) -> str:
    """Return a `POSTGRES_URL` without surrounding spaces. Raise `ValueError` for a wrong URL."""
    text = text.strip()
    parts = _split(text, ("postgresql", "postgres"), _POSTGRES_FORM)
    user_info, _, hosts = parts.netloc.rpartition("@")
    # asyncpg ends the password at the first `@`. A `#`, `?` or `/` in a password ends the network location of the URL
    # too early, and the `@` before the host is then in the path, the query or the fragment.
    ends_in_query = "@" in parts.query and "@" not in parts.netloc
    misplaced = "@" in user_info + parts.path or ends_in_query or parts.fragment
    if misplaced or not all(_is_address(each, host_required=False) for each in hosts.split(",")):
        raise ValueError(_POSTGRES_FORM)
    _decode(user_info, _POSTGRES_FORM)
    for name, value in _parameters(parts.query, _POSTGRES_FORM):
        if name == "sslmode" and value not in _SSL_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
        if name == "target_session_attrs" and value not in _SESSION_ATTRIBUTES:
            raise ValueError(
                f"target_session_attrs must be one of {', '.join(_SESSION_ATTRIBUTES)}"
            )
        if name == "port" and not all(_is_port(each) for each in value.split(",")):
            raise ValueError(f"port must be a number from 1 to {_HIGHEST_PORT}")
        if name in _POSTGRES_FILES and not Path(value).is_file():
            raise ValueError(f"{name} must be the path of a file")
    return text


def check_redis(text: str) -> str:
    """Return a `REDIS_URL` without surrounding spaces. Raise `ValueError` for a wrong URL."""
    text = text.strip()
    parts = _split(text, ("redis", "rediss", "unix"), _REDIS_FORM)
    user_info, _, address = parts.netloc.rpartition("@")
    if parts.scheme == "unix":
        if address or not parts.path or parts.fragment:
            raise ValueError("must be like unix://user:password@/path/of/the/socket?db=0")
    elif (
        parts.fragment
        or not _is_address(address, host_required=False)
        or re.fullmatch(r"(/[0-9]{0,5})?", parts.path) is None
    ):
        raise ValueError(_REDIS_FORM)
    _decode(user_info, _REDIS_FORM)
    allowed = _REDIS_PARAMETERS
    if parts.scheme == "rediss":
        allowed = allowed | _REDIS_TLS_PARAMETERS
    for name, value in _parameters(parts.query, _REDIS_FORM):
        if name not in allowed:
            raise ValueError(f"the allowed parameters are {', '.join(sorted(allowed))}")
        if re.fullmatch(allowed[name], value) is None:
            raise ValueError(f"the parameter {name} has an invalid value")
    return text


def is_host(text: str) -> bool:
    """Return whether `text` can be a host: a name or an IPv4 address, or an IPv6 address in brackets."""
    match = _HOST.fullmatch(text)
    return bool(text) and match is not None and match[2] is None and _has_valid_labels(text)


def _split(text: str, schemes: tuple[str, ...], form: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        # The text of the error may contain the password.
        raise ValueError(form) from None
    if parts.scheme not in schemes or not text.strip().startswith(f"{parts.scheme}://"):
        raise ValueError(form)
    return parts


def _is_address(text: str, *, host_required: bool) -> bool:
    """Return whether `text` is a host with or without a port."""
    match = _HOST.fullmatch(text)
    if match is None or (host_required and not match[1]):
        return False
    return (match[2] is None or _is_port(match[2])) and _has_valid_labels(match[1])


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= _HIGHEST_PORT


def _has_valid_labels(host: str) -> bool:
    """Return whether Python can look up the host. The lookup raises `UnicodeError` for empty and for long labels."""
    # No host, or the encoded path of a Unix socket: there is nothing to look up.
    if not host or "%" in host:
        return True
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _nats_credentials(user_info: str) -> tuple[str | None, str | None, str | None]:
    """Return user, password and token. A name without a password is a token."""
    user, colon, password = user_info.partition(":")
    if not colon:
        return None, None, _decode(user, _NATS_FORM)
    return _decode(user, _NATS_FORM), _decode(password, _NATS_FORM), None


def _decode(text: str, form: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(form) from None


def _parameters(query: str, form: str) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        return parse_qsl(query, strict_parsing=True, keep_blank_values=True)
    except ValueError:
        raise ValueError(form) from None
