"""The HTTP form of calls: the message of a request, and the reply in a response. No I/O."""

import re
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, unquote, urlencode

import httpx2
from pydantic import ValidationError

from svgx_client.errors import UnexpectedAnswer
from svgx_common.contract.operation import (
    Blob,
    Empty,
    Http,
    Operation,
    RawRequest,
    Redirect,
    Reply,
    ReplyModel,
    RequestModel,
)

_FILENAME = re.compile(r"filename\*=UTF-8''([^;]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """An HTTP request without its address and credentials. `target` is path and query.

    The content and the headers may contain secrets, so `repr` leaves them out.
    """

    method: str
    target: str
    content: bytes = field(default=b"", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def message_of(operation: Operation[Any, Any], request: RequestModel) -> Message:
    """Return the HTTP request of a call. Raise `ValueError` if the operation has no HTTP form.

    Raise `TypeError` for a request of another operation.

    Fields with their default values are left out, so an older gateway, which refuses fields that it does not know,
    accepts a request that does not use a new field.
    """
    http = operation.http
    if http is None:
        raise ValueError(f"{operation.name} has no HTTP form; services call it over NATS")
    if not isinstance(request, operation.request):
        raise TypeError(f"{operation.name} needs a {operation.request.__name__}")
    path_fields = set(http.path_fields)
    fields = request.model_dump(mode="json", exclude_defaults=True, include=path_fields)
    path = http.path.format(**{name: quote(str(value), safe="") for name, value in fields.items()})
    # The path always has its fields. All other fields have their place in the query, the cookie or the body.
    if isinstance(request, RawRequest):
        charset = getattr(request, "charset", None)
        media_type = http.consumes[0] + (f"; charset={charset}" if charset else "")
        return Message(http.method, path, request.content, {"Content-Type": media_type})
    if http.method in ("GET", "DELETE"):
        return _message_with_query(http, path, request)
    body = request.model_dump_json(exclude_defaults=True, exclude=path_fields).encode()
    if body == b"{}":
        return Message(http.method, path)
    return Message(http.method, path, body, {"Content-Type": http.consumes[0]})


def _message_with_query(http: Http, path: str, request: RequestModel) -> Message:
    left_out = {*http.path_fields, http.cookie or ""}
    fields = request.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    query = urlencode({name: _text(value) for name, value in fields.items()})
    cookie = getattr(request, http.cookie, None) if http.cookie is not None else None
    headers = {} if cookie is None else {"Cookie": f"{http.cookie_name}={cookie}"}
    return Message(http.method, f"{path}?{query}" if query else path, headers=headers)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def reply_of(operation: Operation[Any, Reply], response: httpx2.Response) -> Reply:
    """Return the operation's reply in a response without an error. Raise `UnexpectedAnswer` if there is none."""
    assert operation.http is not None
    if response.status_code != operation.http.status:
        raise UnexpectedAnswer(response.status_code, f"is no answer to {operation.name}")
    reply: ReplyModel | Blob
    try:
        if operation.reply is Empty:
            reply = Empty()
        elif operation.reply is Blob:
            reply = _blob(response)
        elif operation.reply is Redirect:
            reply = _redirect(operation.http, response)
        else:
            assert issubclass(operation.reply, ReplyModel)
            reply = operation.reply.model_validate_json(response.content)
    except (ValidationError, CookieError):
        # The cause is not kept, because it contains values of the answer, which may be tokens.
        reason = f"is no {operation.reply.__name__}; the server may have another version"
        raise UnexpectedAnswer(response.status_code, reason) from None
    assert isinstance(reply, operation.reply)
    return reply


def _blob(response: httpx2.Response) -> Blob:
    filename = _FILENAME.search(response.headers.get("content-disposition", ""))
    return Blob(
        response.content,
        response.headers.get("content-type", "application/octet-stream"),
        None if filename is None else unquote(filename[1]),
        response.headers.get("svgx-left-out"),
    )


def _redirect(http: Http, response: httpx2.Response) -> Redirect:
    cookies = SimpleCookie(response.headers.get("set-cookie", ""))
    cookie = cookies.get(http.cookie_name)
    return Redirect.model_validate(
        {
            "location": response.headers.get("location"),
            "remember": None if cookie is None else cookie.value,
            "seconds": None if cookie is None else cookie["max-age"],
        }
    )
