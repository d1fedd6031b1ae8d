"""The requests about stored values."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from svgx_common.contract.storage.values import MAX_DEPTH, PersistRequest, ValueRequest


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "A9",
        "_x",
        "editor.preferences",
        "a:b@c~d-e_f",
        "user-1.tab:2",
        "a" * 200,
        "canvas_state",
    ],
)
def test_key_of_safe_characters_is_accepted(key: str) -> None:
    """Proves R-KV-1: a key has 1 to 200 characters that are safe in a path."""
    assert ValueRequest(key=key).key == key


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", ".a", "-a", "a/b", "a b", "a%2F", "é", "a\n", "a\0", "a" * 201, "*", "{a}"],
)
def test_key_of_other_characters_is_refused(key: str) -> None:
    """Proves R-KV-1: a key that clients or proxies would change in a path is refused."""
    with pytest.raises(ValidationError, match="key"):
        ValueRequest(key=key)


@pytest.mark.parametrize("key", ["canvas_state_", "canvas_state_1", "canvas_state_a.b"])
def test_key_of_a_canvas_is_refused_with_the_path_of_the_canvas(key: str) -> None:
    """Proves R-KV-11: no value can have a key that stands for a canvas, and the error says how to read canvases."""
    for model in (ValueRequest, PersistRequest):
        with pytest.raises(ValidationError, match="GET /state/retrieve/canvas_state_"):
            model.model_validate(
                {"key": key, "value": 1} if model is PersistRequest else {"key": key}
            )


@pytest.mark.parametrize(
    "text",
    [
        *("null", "true", "0", "-0.0", "1e308", "123456789012345678901234567890", '""'),
        *("[]", "{}", '{"":{"":null}}', '"\\u0000"', '"\\ud83d\\ude00"', nested(MAX_DEPTH)),
    ],
)
def test_any_json_value_is_accepted_and_kept(text: str) -> None:
    """Proves R-KV-1: a value is any JSON."""
    request = PersistRequest.model_validate_json(f'{{"key": "k", "value": {text}}}', strict=True)
    assert json.dumps(request.value) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(MAX_DEPTH + 1), "nested"),
        (nested(150), "nested"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested"),
        ("NaN", "number"),
        ("[1, [-Infinity]]", "number"),
        ('{"a": 1e400}', "number"),
        (nested(5000), "recursion"),
        ('"\\ud800"', "hex escape|surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
    ],
)
def test_value_that_is_no_json_or_nested_too_deep_is_refused(text: str, reason: str) -> None:
    """Proves R-KV-1: a number that JSON does not have, half of a surrogate pair and deep nesting are refused."""
    with pytest.raises(ValidationError, match=reason):
        PersistRequest.model_validate_json(f'{{"key": "k", "value": {text}}}', strict=True)


@pytest.mark.parametrize(
    "metadata",
    [[], "x", None, {"a": "x" * 4096}, {"a": float("inf")}, json.loads(nested(MAX_DEPTH + 1))],
)
def test_metadata_over_its_limits_is_refused(metadata: Any) -> None:
    """Proves R-KV-1: metadata is a small object."""
    with pytest.raises(ValidationError, match="metadata"):
        PersistRequest(key="k", value=1, metadata=metadata)


def test_version_is_exact_in_every_json_reader() -> None:
    """Proves R-KV-3: a version beyond 2**53 - 1 is refused."""
    assert PersistRequest(key="k", value=1, version=2**53 - 1).version == 2**53 - 1
    for wrong in (-1, 2**53):
        with pytest.raises(ValidationError, match="version"):
            PersistRequest(key="k", value=1, version=wrong)
