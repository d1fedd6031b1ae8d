"""Checks of the environment variables that the library for object storages reads.

The library does not check these values. With some wrong values it panics at each request, and its error names no
variable.
"""

import re
from collections.abc import Iterator, Mapping

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"),
}
"""The variables with the URL of a server, by scheme of `BACKUP_URL`. The library may use any of them that is set."""

_REGIONS = {"s3": ("AWS_REGION", "AWS_DEFAULT_REGION")}
"""The variables with a region, by scheme. The region is a part of the host, and of each signature."""

_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_TOKEN"),
}
"""The variables with credentials that become parts of headers or of the host, by scheme."""

_ENDPOINT = re.compile(r"(?i)https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?:/[!-~]*)?")
_NOT_IN_PATH = re.compile(r"[?#@\\^`{|}\"<>]")
_REGION = re.compile(r"[A-Za-z0-9._-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HIGHEST_PORT = 65535


def mistakes(backup_url: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each variable of the target at `backup_url` with a value that no request can use.

    The lines contain no values, because a value may be a secret.
    """
    scheme = backup_url.partition("://")[0]
    for name in _ENDPOINTS.get(scheme, ()):
        if name in environ and not _is_endpoint(environ[name]):
            yield f"{name}: must be a URL like https://storage.example:9000, or not set"
    for name in _REGIONS.get(scheme, ()):
        if _REGION.fullmatch(environ.get(name, "")) is None:
            yield f"{name}: must be the name of a region, such as eu-central-1"
    for name in _CREDENTIALS.get(scheme, ()):
        if _CONTROL.search(environ.get(name, "")):
            yield f"{name}: must not contain line breaks or other control characters"


def _is_endpoint(text: str) -> bool:
    match = _ENDPOINT.fullmatch(text)
    if match is None or _NOT_IN_PATH.search(text):
        return False
    return match[2] is None or 1 <= int(match[2]) <= _HIGHEST_PORT
