"""The errors of a call that has no answer from a gateway, and the contract's error in an answer.

A refusal by the gateway or a service is an error of the contract, such as `NotFound`: see
`svgx_common.contract.errors`.
"""

import re

import httpx2
from pydantic import ValidationError

from svgx_common.contract.errors import (
    PROBLEM_MEDIA_TYPE,
    ErrorBody,
    SvgxError,
    from_body,
)


class ClientError(Exception):
    """A call failed without a refusal by the gateway."""


class ConnectionFailed(ClientError):
    """The gateway could not be reached, or the connection ended before the answer.

    `sent` states whether the request may have been sent, and so may have been carried out.
    """

    def __init__(self, url: str, reason: str, *, sent: bool) -> None:
        self.sent = sent
        if sent:
            detail = f"no answer from {url} ({reason}); the request may have been carried out"
        else:
            detail = f"cannot connect to {url} ({reason})"
        super().__init__(detail)


class UnexpectedAnswer(ClientError):
    """The answer is none of the operation's answers, for example a page of a proxy.

    The message contains no part of the answer, because the answer may contain tokens. `retry_after` is in seconds.
    """

    def __init__(self, status: int, reason: str, *, retry_after: float | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(f"the answer with status {status} {reason}")


def connection_failed(url: str, error: httpx2.RequestError) -> ConnectionFailed:
    """Return the error for a request without an answer."""
    unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    reason = str(error) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return ConnectionFailed(url, reason, sent=not isinstance(error, unsent))


def error_of(response: httpx2.Response) -> SvgxError | UnexpectedAnswer | None:
    """Return the error that a response states, or None for a response without an error.

    The error has the trace id as a note, and the seconds of the header `Retry-After`.
    """
    if response.status_code < 400:
        return None
    text = response.headers.get("retry-after", "")
    retry_after = float(text) if text.isascii() and text.isdecimal() else None
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    try:
        if media_type != PROBLEM_MEDIA_TYPE:
            raise ValueError("no problem document")
        error = from_body(ErrorBody.model_validate_json(response.content))
        trace_id = response.json().get("trace_id")
    except (ValidationError, ValueError):
        reason = "is no problem document; the URL may belong to another server"
        return UnexpectedAnswer(response.status_code, reason, retry_after=retry_after)
    if error.retry_after is None:
        error.retry_after = retry_after
    if trace_id is not None:
        error.add_note(f"trace id {trace_id}")
    return error
