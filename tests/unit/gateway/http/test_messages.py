"""Parsing of HTTP requests into the request models of the contract."""

import json
import time
from typing import Any

import pytest
from starlette.requests import Request

from svgx_common.contract import api_keys, auth, collab, state
from svgx_common.contract.errors import BadRequest, Invalid, SvgxError, TooLarge, UnsupportedMedia
from svgx_common.contract.oidc import OIDC_CALLBACK, OIDC_LOGIN
from svgx_common.contract.operation import Operation, RequestModel
from svgx_common.contract.storage import values, versions
from svgx_gateway.http import messages
from svgx_gateway.http.messages import EXACT_FLOAT_LIMIT, MAX_JSON_VALUES, parse_request


def parse(
    operation: Operation[Any, Any],
    body: bytes,
    path_params: dict[str, str] | None = None,
    media_type: str = "application/json",
    query: bytes = b"",
) -> RequestModel:
    """Parse a request with this body."""
    scope = {
        "type": "http",
        "headers": [(b"content-type", media_type.encode())],
        "query_string": query,
        "path_params": path_params or {},
    }
    assert operation.http is not None
    return parse_request(operation, operation.http, Request(scope), body)


def refusal(operation: Operation[Any, Any], query: bytes, body: bytes) -> Invalid:
    """Return the error for a request with these fields in its query and body, and with its fields of the path."""
    path_params = {"key": "k", "user_id": "u", "canvas_id": "c", "provider": "corporate"}
    assert operation.http is not None
    path_params = {name: path_params[name] for name in operation.http.path_fields}
    with pytest.raises(Invalid) as refused:
        parse(operation, body, path_params, query=query)
    return refused.value


@pytest.mark.parametrize(
    ("number", "expected"),
    [(b"7", 7), (b"7.0", 7), (b"7e0", 7), (b"70.0e-1", 7), (b"366.0", 366)],
)
def test_number_without_fraction_is_an_integer(number: bytes, expected: int) -> None:
    """A JSON number without a fraction is accepted for an integer field, however it is written."""
    message = parse(api_keys.CREATE_API_KEY, b'{"name": "n", "expires_in_days": ' + number + b"}")
    assert getattr(message, "expires_in_days") == expected  # noqa: B009


@pytest.mark.parametrize(
    "value", [b"7.5", b"1e400", b"NaN", b'"7"', b"true", b"%d.0" % EXACT_FLOAT_LIMIT, b"9" * 400]
)
def test_non_integer_for_an_integer_field_is_refused_with_the_name(value: bytes) -> None:
    """A value that is not an integer, or is too large, is refused with the name of its field. Proves R-HTTP-2."""
    with pytest.raises(Invalid) as refused:
        parse(api_keys.CREATE_API_KEY, b'{"name": "n", "expires_in_days": ' + value + b"}")
    assert refused.value.field == "expires_in_days"


@pytest.mark.parametrize("value", [b"0", b'"true"', b"1.0"])
def test_number_or_string_is_no_boolean(value: bytes) -> None:
    """A boolean field takes `true` and `false` only. Proves R-HTTP-2."""
    with pytest.raises(Invalid) as refused:
        parse(auth.UPDATE_USER, b'{"disabled": ' + value + b"}", {"user_id": "u"})
    assert refused.value.field == "disabled"


@pytest.mark.parametrize(
    "body", [b'{"name": "first", "name": "last"}', b'\n{"name":"last"}\r\n\t ']
)
def test_last_of_two_fields_with_the_same_name_is_used(body: bytes) -> None:
    """The last of two fields with the same name is used. Whitespace around the object is ignored."""
    assert getattr(parse(state.CREATE_CANVAS, body), "name") == "last"  # noqa: B009


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (auth.UPDATE_USER, b""),
        (auth.UPDATE_USER, b" { } "),
        (auth.UPDATE_USER, b'\xef\xbb\xbf{"email": "\\u0061@example.org"}'),
        (versions.CREATE_VERSION, b'{"name": "{\\"canvas_id\\": 1}"}'),
        (versions.CREATE_VERSION, b'{"name": "canvas_id"}'),
    ],
)
def test_path_field_is_added_to_the_fields_of_the_body(
    operation: Operation[Any, Any], body: bytes
) -> None:
    """A path field is added even if a text in the body contains its name. Proves R-HTTP-13."""
    (name,) = operation.http.path_fields if operation.http else ()
    assert getattr(parse(operation, body, {name: "mine"}), name) == "mine"


@pytest.mark.parametrize(
    ("operation", "query", "body", "field"),
    [
        (auth.UPDATE_USER, b"", b'{"user_id": "u"}', "user_id"),
        (auth.UPDATE_USER, b"", b'{"disabled": true, "user_id": 7}', "user_id"),
        (auth.UPDATE_USER, b"", b'{"user_id": "v", "user_id": "w"}', "user_id"),
        (auth.UPDATE_USER, b"", b'\xef\xbb\xbf{"user\\u005fid": "v"}', "user_id"),
        (values.DELETE_VALUE, b"version=3&key=k", b"", "key"),
        (values.RETRIEVE_VALUE, b"key=other", b"", "key"),
        (OIDC_LOGIN, b"provider=other", b"", "provider"),
    ],
)
def test_path_field_in_another_part_is_refused_with_its_name(
    operation: Operation[Any, Any], query: bytes, body: bytes, field: str
) -> None:
    """A path field that another part repeats is refused, even with the same value. Proves R-HTTP-13."""
    assert refusal(operation, query, body).field == field


def test_callback_ignores_parameters_with_the_names_of_its_other_fields() -> None:
    """A provider may add any parameter to its redirect. Proves R-HTTP-13."""
    message = parse(OIDC_CALLBACK, b"", {"provider": "corporate"}, query=b"provider=x&browser=y")
    assert (getattr(message, "provider"), getattr(message, "browser")) == ("corporate", None)  # noqa: B009


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}",
        b"{}}",
        b"[1]",
        b"7",
        b'"x"',
        b"null",
        b"{,}",
        b'{"disabled": true,}',
        b'{"username": "}',
        b'{"username": "x}',
        b'{"username": "x\\}',
        b'{"username": {}',
        b'{"username": [}',
        b'{} {"disabled": true}',
        b'{"disabled": true} {}',
        b'{"username": "\xff"}',
        b'{"username": "\\ud800"}',
        b'{"username": ' + b"[" * 10_000 + b"}",
        b'{"disabled": ' + b"1" * 5000 + b"}",
        b'{"user_id": ' + b"[" * 10_000 + b"}",
        b'{"user_id": "v"} {}',
    ],
)
@pytest.mark.parametrize("path_params", [{}, {"user_id": "u"}, {"user_id": '",x":{"'}])
def test_body_that_is_no_json_object_is_refused(body: bytes, path_params: dict[str, str]) -> None:
    """A body that is not a JSON object, or has a number or text that the parser refuses, gets `bad_request`.

    Fields in the path do not change the result. Proves R-HTTP-2.
    """
    with pytest.raises(BadRequest) as refused:
        parse(auth.UPDATE_USER, body, path_params)
    assert refused.value.field == "body"


def test_path_field_is_validated() -> None:
    """An invalid path field is refused with its name. Its text cannot add fields to the body. Proves R-HTTP-2."""
    with pytest.raises(Invalid) as refused:
        parse(auth.UPDATE_USER, b'{"disabled": true}', {"user_id": 'u","role":"admin'})
    assert refused.value.field == "user_id"


def test_media_type_is_checked_before_the_body() -> None:
    """A body of another media type is refused before it is parsed. Proves R-HTTP-3."""
    with pytest.raises(SvgxError) as refused:
        parse(state.CREATE_CANVAS, b"{", media_type="text/plain")
    assert isinstance(refused.value, UnsupportedMedia)


@pytest.mark.parametrize(
    ("operation", "query", "body", "field"),
    [
        (values.DELETE_VALUE, b"", b'{"version": 3}', "body"),
        (values.DELETE_VALUE, b"version=3", b"{}", "body"),
        (values.RETRIEVE_VALUE, b"", b" ", "body"),
        (values.PERSIST_VALUE, b"version=3", b'{"key": "k", "value": 1}', "version"),
        (values.PERSIST_VALUE, b"version=3", b"", "version"),
        (values.PERSIST_VALUE, b"=3", b'{"key": "k", "value": 1}', "query"),
        (auth.UPDATE_USER, b"other=1&role=admin", b"{}", "other"),
        (collab.IMPORT_SVG, b"charset=utf-8", b"<svg/>", "charset"),
    ],
)
def test_field_in_the_wrong_part_is_refused_with_its_name(
    operation: Operation[Any, Any], query: bytes, body: bytes, field: str
) -> None:
    """Otherwise, a DELETE with its version in the body would delete any version. Proves R-HTTP-13."""
    refused = refusal(operation, query, body)
    assert refused.field == field
    assert refused.detail.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("operation", "query", "body"),
    [
        (values.DELETE_VALUE, b"version=3", b""),
        (values.PERSIST_VALUE, b"", b'{"key": "k", "value": 1, "version": 3}'),
        (values.PERSIST_VALUE, b"&", b'{"key": "k", "value": 1, "version": 3}'),
    ],
)
def test_field_in_its_own_part_is_accepted(
    operation: Operation[Any, Any], query: bytes, body: bytes
) -> None:
    """A query without fields counts as empty. Proves R-HTTP-13."""
    path_params = {"key": "k"} if operation is values.DELETE_VALUE else {}
    message = parse(operation, body, path_params, query=query)
    assert getattr(message, "version") == 3  # noqa: B009


def persisted(value: bytes, rest: bytes = b"") -> RequestModel:
    """Parse a request that stores a value."""
    return parse(values.PERSIST_VALUE, b'{"key": "k", "value": ' + value + rest + b"}")


EMPTY_CONTAINERS = MAX_JSON_VALUES // 2
"""The number of empty lists or objects that count as `MAX_JSON_VALUES` values."""


@pytest.mark.parametrize(
    "value",
    [
        b"[" + b"0," * (MAX_JSON_VALUES - 10) + b"0]",
        b"[" + b"[]," * (EMPTY_CONTAINERS - 10) + b"[]]",
        b'"' + b"," * 2 * MAX_JSON_VALUES + b'"',
        b'"' + b'\\",' * MAX_JSON_VALUES + b'"',
        b'["' + b"[" * 2 * MAX_JSON_VALUES + b'\\\\",0]',
        b'"' + b'\\\\\\",{' * (MAX_JSON_VALUES // 2) + b'"',
    ],
)
def test_commas_and_brackets_in_strings_are_no_values(value: bytes) -> None:
    """A body within the limit is accepted, also with many commas and brackets in its strings. Proves R-HTTP-18."""
    assert getattr(persisted(value), "value") == json.loads(value)  # noqa: B009


@pytest.mark.parametrize(
    "value",
    [
        b"[" + b"0," * MAX_JSON_VALUES + b"0]",
        b"[" + b"[]," * EMPTY_CONTAINERS + b"[]]",
        b"[" + b"{}," * EMPTY_CONTAINERS + b"{}]",
        b"[" + b'"",' * MAX_JSON_VALUES + b"0]",
        b"[" + b'"\\\\",' * MAX_JSON_VALUES + b"0]",
        b"[" + b'"\\"",' * MAX_JSON_VALUES + b"0]",
        b"{" + b",".join(b'"%x":0' % number for number in range(MAX_JSON_VALUES)) + b"}",
        b"[" * 2 * MAX_JSON_VALUES,
        b'[0,"' + b'\\"' * MAX_JSON_VALUES + b'",' + b"0," * MAX_JSON_VALUES + b"0]",
    ],
)
@pytest.mark.parametrize("rest", [b"", b', "version": 1.0', b', "version": 1.5'])
def test_body_with_too_many_values_is_refused_without_parsing_it(value: bytes, rest: bytes) -> None:
    """The error names the limit. The refusal takes a few milliseconds. Proves R-HTTP-18."""
    began = time.thread_time()
    with pytest.raises(TooLarge) as refused:
        persisted(value, rest)
    assert time.thread_time() - began < 0.1
    assert (refused.value.field, refused.value.limit) == ("body", MAX_JSON_VALUES)


@pytest.mark.parametrize(("version", "expected"), [(b"7", 7), (b"7.0", 7), (b"7e0", 7)])
def test_whole_version_is_read_in_one_parse(
    monkeypatch: pytest.MonkeyPatch, version: bytes, expected: int
) -> None:
    """The version of a stored value may be written as 7.0, and costs no second parse of the value."""
    monkeypatch.delattr(messages, "json")
    message = persisted(b"1", b', "version": ' + version)
    assert getattr(message, "version") == expected  # noqa: B009


@pytest.mark.parametrize("version", [b"7.5", b"1e400", b"true", b'"7"', b"9007199254740992.0"])
def test_version_that_is_no_whole_number_is_refused_in_one_parse(
    monkeypatch: pytest.MonkeyPatch, version: bytes
) -> None:
    """The refusal names the field, and costs no second parse of the value. Proves R-HTTP-2."""
    monkeypatch.delattr(messages, "json")
    with pytest.raises(Invalid) as refused:
        persisted(b"1", b', "version": ' + version)
    assert refused.value.field == "version"
