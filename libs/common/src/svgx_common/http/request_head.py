"""Checks of a request's HTTP version, target, host, length and transfer codings.

The HTTP parser does not make these checks.
"""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address

from svgx_common.contract.errors import BadRequest, UnsupportedCoding

Headers = Sequence[tuple[bytes, bytes]]
"""The headers of a request in their order, with names in lower case."""

MAX_HOST_BYTES = 255 + len(":65535")
"""Maximum size in bytes of a `Host` value: the longest name in DNS (RFC 1035, 2.3.4) and a port."""

MAX_LENGTH_DIGITS = 18
"""Largest number of digits of a `Content-Length`, with its leading zeros. `websockets` has the same limit.

The HTTP parser accepts any number of leading zeros. Python refuses to parse a number with more than 4,300 digits.
"""

# RFC 3986, 3.2.2: an address in brackets, or a name of unreserved characters, escapes and sub-delimiters.
_HOST_PATTERN = re.compile(
    rb"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]*))?"
)
_ABSOLUTE_TARGET = re.compile(rb"https?://(?P<host>[^/?]+)", re.IGNORECASE)
_WHITE_SPACE = b" \t"
"""The white space around a header's value and around the members of a list (RFC 9110, 5.6.3)."""


def check(version: str, target: bytes, headers: Headers) -> None:
    """Raise `BadRequest` or `UnsupportedCoding` unless a server may answer a request with this head (RFC 9112).

    `version` is the HTTP version, such as `1.1`. `target` is the path or the whole address, with the query, or `*`.
    """
    if version not in ("1.0", "1.1"):
        raise BadRequest("the server speaks HTTP/1.1 and HTTP/1.0", limit="1.1")
    _check_host(version, headers)
    if not target.startswith(b"/"):
        _check_target(target)
    if b"#" in target:
        raise BadRequest("the address has a fragment, which a client must not send")
    codings = []
    for name, value in headers:
        if name == b"content-length":
            _check_length(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if codings:
        _check_transfer_coding(version, b",".join(codings))


def size(target: bytes, headers: Headers) -> int:
    """Return the size of the target and the headers in bytes. Each header has a colon, a space and a line end."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def announces_body(headers: Headers) -> bool:
    """Return whether a body follows the head."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in headers
    )


def _check_host(version: str, headers: Headers) -> None:
    """Raise `BadRequest` unless there is one valid `Host` (RFC 9112, 3.2). HTTP/1.0 does not need one."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        raise BadRequest("Host: send it once", field="host", limit=1)
    if not hosts:
        if version == "1.1":
            raise BadRequest("Host: HTTP/1.1 needs it", field="host")
    elif not _is_host(hosts[0].strip(_WHITE_SPACE)):
        raise BadRequest("Host: must be a name or an address, with or without a port", field="host")


def _is_host(value: bytes) -> bool:
    match = _HOST_PATTERN.fullmatch(value) if len(value) <= MAX_HOST_BYTES else None
    if match is None or int(match["port"] or 0) > 65535:
        return False
    try:
        return match["address"] is None or bool(IPv6Address(match["address"].decode()))
    except AddressValueError:
        return False


def _check_target(target: bytes) -> None:
    """Raise `BadRequest` unless the target is a whole address of a valid host, or `*` (RFC 9112, 3.2)."""
    absolute = _ABSOLUTE_TARGET.match(target)
    if target != b"*" and (absolute is None or not _is_host(absolute["host"])):
        raise BadRequest("the request needs a path, or an address such as http://host/path")


def _check_length(value: bytes) -> None:
    """Raise `BadRequest` if a `Content-Length` has too many digits. The HTTP parser refuses all but digits."""
    if len(value.strip(_WHITE_SPACE)) > MAX_LENGTH_DIGITS:
        raise BadRequest(
            f"Content-Length: at most {MAX_LENGTH_DIGITS} digits",
            field="content-length",
            limit=MAX_LENGTH_DIGITS,
        )


def _check_transfer_coding(version: str, value: bytes) -> None:
    """Raise an error unless `chunked` is the only transfer coding (RFC 9112, 6.1, 6.3 and 7).

    For another coding before `chunked`, the error is `UnsupportedCoding`, because the server cannot decode such a body.
    In all other cases, it is `BadRequest`.
    """
    codings = [each.strip(_WHITE_SPACE).lower() for each in value.split(b",")]
    # A recipient ignores empty members of a list (RFC 9110, 5.6.1).
    codings = [each for each in codings if each]
    if version == "1.0":
        raise BadRequest("Transfer-Encoding: HTTP/1.0 does not have it", field="transfer-encoding")
    if not codings or codings[-1] != b"chunked" or b"chunked" in codings[:-1]:
        raise BadRequest(
            "Transfer-Encoding: `chunked` must be the last coding, and appear once",
            field="transfer-encoding",
        )
    if len(codings) > 1:
        raise UnsupportedCoding(
            "Transfer-Encoding: only `chunked` is supported",
            field="transfer-encoding",
            limit="chunked",
        )
