"""Read a `data:` URL as browsers do: the URL parser's preparation, then the data: URL processor of the Fetch standard.

Sources: https://fetch.spec.whatwg.org/#data-url-processor, https://infra.spec.whatwg.org/#forgiving-base64 and
https://url.spec.whatwg.org/#url-parsing.
"""

import base64
import binascii
import re
from dataclasses import dataclass

_CONTROLS_AND_SPACE = "".join(map(chr, range(0x21)))
_LINE_ENDS_AND_TABS = str.maketrans("", "", "\t\n\r")
_ASCII_SPACE = " \t\n\f\r"
_BASE64 = re.compile(r"; *base64\Z", re.IGNORECASE)
_BASE64_SPACE = re.compile(rb"[ \t\n\f\r]+")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_ESSENCE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_CHARSET = re.compile(
    rf'charset=(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t\n\f\r]*', re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class DataUrl:
    """The content of a `data:` URL."""

    media_type: str
    """The essence (type and subtype) in lower case, such as "image/png", or "" if it is missing or invalid."""
    charset: str | None
    """The parameter `charset` of the media type, or None."""
    content: bytes


def is_data_url(url: str) -> bool:
    """Return whether a URL has the scheme `data:` in its first 64 characters."""
    return _prepare_url(url[:64])[:5].lower() == "data:"


def has_data_scheme(text: str) -> bool:
    """Return whether a text has the scheme `data:` anywhere, possibly with tabs and line ends in it."""
    # `translate` would be slower, because a text may have other characters than those of ASCII.
    return "data:" in text.replace("\t", "").replace("\n", "").replace("\r", "").lower()


def read_data_url(url: str) -> DataUrl | None:
    """Return the content of a `data:` URL, or None if the URL is not one or is malformed."""
    if not is_data_url(url):
        return None
    text = _prepare_url(url)[5:].partition("#")[0]
    media_type, comma, body = text.partition(",")
    if not comma:
        return None
    media_type = media_type.strip(_ASCII_SPACE)
    content: bytes | None = _decode_percent(body)
    base64_mark = _BASE64.search(media_type)
    if base64_mark is not None:
        media_type = media_type[: base64_mark.start()]
        content = forgiving_base64(content or b"")
    if content is None:
        return None
    essence, _, parameters = media_type.partition(";")
    essence = essence.strip(_ASCII_SPACE).lower()
    if not _ESSENCE.fullmatch(essence):
        # A media type without an essence, such as ";charset=utf-8", is text/plain and keeps its parameters. A media
        # type with an invalid essence has no parameters.
        return DataUrl("", None if essence else _charset(parameters), content)
    return DataUrl(essence, _charset(parameters), content)


def forgiving_base64(text: bytes) -> bytes | None:
    """Return the decoded bytes, or None for text that is not base64. White space and missing padding are allowed."""
    compact = _BASE64_SPACE.sub(b"", text)
    if len(compact) % 4 == 0:
        compact = compact[:-2] + compact[-2:].rstrip(b"=")
    if len(compact) % 4 == 1 or b"=" in compact:
        return None
    try:
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        return None


def write_data_url(media_type: str, content: bytes) -> str:
    """Return the canonical `data:` URL: a media type without parameters, and base64 with padding."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _prepare_url(url: str) -> str:
    """Return a URL without the characters that the URL parser removes."""
    return url.strip(_CONTROLS_AND_SPACE).translate(_LINE_ENDS_AND_TABS)


def _decode_percent(text: str) -> bytes:
    # The URL parser writes characters outside of ASCII as percent-encoded UTF-8.
    data = text.encode("utf-8", "replace")
    if b"%" not in data:
        return data
    return _PERCENT.sub(lambda match: bytes((int(match.group(1), 16),)), data)


def _charset(parameters: str) -> str | None:
    for parameter in parameters.split(";"):
        match = _CHARSET.fullmatch(parameter.lstrip(_ASCII_SPACE))
        if match is not None:
            return match.group(2) or re.sub(r"\\(.)", r"\1", match.group(1) or "")
    return None
