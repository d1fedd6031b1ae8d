"""The HTTP form of calls, compared with the gateway's own parsing and responses."""

from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.routing import compile_path

from svgx_client.errors import UnexpectedAnswer
from svgx_client.wire import Message, message_of, reply_of
from svgx_common.contract import OPERATIONS, auth, collab, oidc, state
from svgx_common.contract.live.element_changes import CHANGE_ELEMENTS, ChangeElementsRequest
from svgx_common.contract.operation import (
    Blob,
    Empty,
    Http,
    Operation,
    Redirect,
    RequestModel,
    example_of,
)
from svgx_common.contract.storage import values
from svgx_gateway.http.messages import parse_request
from svgx_gateway.http.operations import content_disposition

HTTP_OPERATIONS = [operation for operation in OPERATIONS if operation.http is not None]
SAMPLES = ("sample", 7, 77, True, False, "2026-01-31T12:00:00.25+02:00", "png", ["canvas.created"])
"""Values of optional fields. The first value that a field accepts, and that is not its default, is used."""


def sample_of(model: type[RequestModel]) -> RequestModel:
    """Return a request with a value for each field, as far as a sample fits."""
    fields = example_of(model)
    optional = [name for name, field in model.model_fields.items() if not field.is_required()]
    for name in optional:
        for value in SAMPLES:
            try:
                request = model.model_validate({**fields, name: value})
            except ValidationError:
                continue
            if getattr(request, name) != model.model_fields[name].default:
                fields[name] = value
                break
    return model.model_validate(fields)


def parsed_by_gateway(operation: Operation[Any, Any], message: Message) -> RequestModel:
    """Return the request that the gateway reads from a message."""
    assert operation.http is not None
    assert message.method == operation.http.method
    path, _, query = message.target.partition("?")
    match = compile_path(operation.http.path)[0].match(path)
    assert match is not None, path
    scope = {
        "type": "http",
        "headers": [
            (name.lower().encode(), value.encode()) for name, value in message.headers.items()
        ],
        "query_string": query.encode(),
        "path_params": {name: unquote(value) for name, value in match.groupdict().items()},
    }
    return parse_request(operation, operation.http, Request(scope), message.content)


@pytest.mark.parametrize("operation", HTTP_OPERATIONS, ids=lambda operation: operation.name)
def test_gateway_reads_the_request_of_every_operation(operation: Operation[Any, Any]) -> None:
    """The gateway reads each request as it was given, with its required fields only and with more fields.

    Proves R-CONTRACT-8.
    """
    model: type[RequestModel] = operation.request
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    examples = example_of(model)
    smallest = model.model_validate({name: examples[name] for name in required})
    for request in (smallest, sample_of(model)):
        read = parsed_by_gateway(operation, message_of(operation, request))
        assert read.model_dump() == request.model_dump()
        assert getattr(read, "content", b"") == getattr(request, "content", b"")


def test_samples_cover_most_optional_fields() -> None:
    """The samples give most optional fields a value, so the test above compares queries and bodies."""
    changed = total = 0
    for operation in HTTP_OPERATIONS:
        request = sample_of(operation.request)
        for name, field in operation.request.model_fields.items():
            if not field.is_required():
                total += 1
                changed += getattr(request, name) != field.default
    assert changed > 0.9 * total


def test_null_of_an_attribute_is_sent() -> None:
    """Fields with their defaults are left out, but a null inside a mapping removes an attribute."""
    operations = [{"op": "update", "id": "roof", "attrs": {"fill": None}}]
    request = ChangeElementsRequest.model_validate({"canvas_id": "c", "operations": operations})
    assert b'{"fill":null}' in message_of(CHANGE_ELEMENTS, request).content


def test_key_with_special_characters_is_encoded() -> None:
    request = values.ValueRequest(key="user:1@tab~a")
    message = message_of(values.RETRIEVE_VALUE, request)
    assert message.target == "/state/retrieve/user%3A1%40tab~a"


def test_query_has_json_spelling_and_no_defaults() -> None:
    """A query has `true` and not Python's `True`, as the OpenAPI document says."""
    request = state.ListCanvasesRequest(deleted=True, limit=50, name="a&b")
    message = message_of(state.LIST_CANVASES, request)
    assert message.target == "/runtime/canvases/?name=a%26b&deleted=true"


def test_charset_of_a_file_is_in_its_media_type() -> None:
    request = collab.ImportSvgRequest(canvas_id="c", content=b"<svg/>", charset="latin-1")
    message = message_of(collab.IMPORT_SVG, request)
    assert message.headers == {"Content-Type": "image/svg+xml; charset=latin-1"}
    assert message.content == b"<svg/>"


def test_internal_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="no HTTP form"):
        message_of(state.CANVAS_ACCESS, state.CanvasRequest(canvas_id="c"))


def test_request_of_another_operation_is_refused() -> None:
    with pytest.raises(TypeError, match="CreateCanvasRequest"):
        message_of(state.CREATE_CANVAS, state.CanvasRequest(canvas_id="c"))


def test_message_hides_its_secrets() -> None:
    """`repr` of a message has no content and no headers."""
    login = auth.LoginRequest(username="ada", password="hunter2")
    assert "hunter2" not in repr(message_of(auth.LOGIN, login))


def test_blob_has_its_media_type_and_file_name() -> None:
    headers = {
        "content-type": "image/svg+xml",
        "content-disposition": content_disposition("Café plan.svg"),
        "svgx-left-out": "pictures",
    }
    reply = reply_of(state.EXPORT, httpx2.Response(200, headers=headers, content=b"<svg/>"))
    assert reply == Blob(b"<svg/>", "image/svg+xml", "Café plan.svg", "pictures")


def test_empty_reply_has_no_content() -> None:
    assert reply_of(auth.LOGOUT, httpx2.Response(204)) == Empty()


def test_redirect_has_its_address_and_cookie() -> None:
    headers = {
        "location": "https://id.example.org/authorize",
        "set-cookie": "svgx_browser=abc; HttpOnly; Max-Age=600; Path=/auth/oidc; SameSite=lax",
    }
    reply = reply_of(oidc.OIDC_LOGIN, httpx2.Response(303, headers=headers))
    location = "https://id.example.org/authorize"
    assert reply == Redirect(location=location, remember="abc", seconds=600)


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(200, content=b'{"access_token": "secret", "user": 7}'),
        httpx2.Response(200, content=b"<html>secret</html>"),
        httpx2.Response(204),
        httpx2.Response(302, headers={"location": "https://login.example.org/secret"}),
    ],
)
def test_answer_of_another_server_is_an_error_without_its_content(
    response: httpx2.Response,
) -> None:
    with pytest.raises(UnexpectedAnswer) as raised:
        reply_of(auth.LOGIN, response)
    assert raised.value.status == response.status_code
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_cookie_is_no_part_of_the_query() -> None:
    """The cookie of a sign-in is a field of the request, and is sent as a cookie only."""
    request = oidc.OidcCallbackRequest(provider="corporate", browser="abc", code="c")
    message = message_of(oidc.OIDC_CALLBACK, request)
    assert isinstance(oidc.OIDC_CALLBACK.http, Http)
    assert message.target == "/auth/oidc/corporate/callback?code=c"
    assert message.headers == {"Cookie": "svgx_browser=abc"}
