"""Readers of single header values: one cookie, and the charset of a media type.

Their time is linear in the header's length. Those of the standard library, `http.cookies` (CVE-2024-7592) and
`email.message`, stop the event loop for many seconds for a header of 60 KiB.
"""

import re

from starlette.datastructures import Headers

from svgx_common.contract.errors import UnsupportedMedia

MAX_COOKIE_CHARACTERS = 4096
"""Size up to which every browser keeps a cookie (name and value; RFC 6265, 6.1). A longer one counts as missing."""

MAX_CONTENT_TYPE_CHARACTERS = 256
"""Longest Content-Type of which parameters are read."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

_PARAMETER = re.compile(
    rf';[ \t]*({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")', re.DOTALL
)
"""A parameter of a media type (RFC 9110, 5.6.6), also with white space beside its equals sign."""


def cookie(headers: Headers, name: str) -> str | None:
    """Return the value of a cookie, or None if the request does not have it. Of a repeated cookie, the last one counts.

    The value is returned as it was sent, also with quotes: the gateway sets no cookie that needs them.
    """
    found = None
    for header in headers.getlist("cookie"):
        for pair in header.split(";"):
            key, _, value = pair.strip().partition("=")
            if key.rstrip() == name and len(pair) <= MAX_COOKIE_CHARACTERS:
                found = value.lstrip()
    return found


def charset(content_type: str) -> str | None:
    """Return the parameter `charset` of a Content-Type in lower case, or None if there is none.

    Malformed parameters are ignored. Raise `UnsupportedMedia` for more than `MAX_CONTENT_TYPE_CHARACTERS`.
    """
    if len(content_type) > MAX_CONTENT_TYPE_CHARACTERS:
        raise UnsupportedMedia(
            f"content-type: must have at most {MAX_CONTENT_TYPE_CHARACTERS} characters",
            field="content-type",
            limit=MAX_CONTENT_TYPE_CHARACTERS,
        )
    for name, token, quoted in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return (token or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)).lower() or None
    return None
