"""The arguments and options of a command, derived from the fields of its request model."""

import json
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction
from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from svgx_common.contract.operation import Operation, RequestModel

_METAVARS = {str: "TEXT", int: "N", float: "NUMBER", AwareDatetime: "TIME"}


def is_secret(name: str) -> bool:
    """Return whether a field is a password or a token. Such a field is never an argument or option."""
    return "password" in name or "token" in name


def positional_fields(operation: Operation[Any, Any]) -> list[str]:
    """Return the fields that are arguments: those of the path, and required ids, in this order."""
    assert operation.http is not None
    in_path = operation.http.path_fields
    fields = operation.request.model_fields.items()
    ids = [name for name, field in fields if field.is_required() and name.endswith("_id")]
    return [*in_path, *(name for name in ids if name not in in_path)]


def add_fields(parser: ArgumentParser, operation: Operation[Any, Any]) -> None:
    """Add an argument or an option for each field that is not secret. Only given fields enter the namespace."""
    fields = operation.request.model_fields
    positional = positional_fields(operation)
    for name in positional:
        _, choices = _kind(fields[name].annotation)
        parser.add_argument(name, metavar=name.upper(), choices=choices, help=_help(fields[name]))
    for name, field in fields.items():
        if name not in positional and name != "content" and not is_secret(name):
            _add_option(parser, name, field)


def _add_option(parser: ArgumentParser, name: str, field: FieldInfo) -> None:
    option = f"--{name.replace('_', '-')}"
    kind, choices = _kind(field.annotation)
    text = _help(field)
    if kind is bool:
        parser.add_argument(option, default=SUPPRESS, action=BooleanOptionalAction, help=text)
    elif get_origin(kind) is list:
        _, choices = _kind(get_args(kind)[0])
        text = f"{text}; repeat the option for more values".removeprefix("; ")
        parser.add_argument(
            option, default=SUPPRESS, action="append", choices=choices, metavar="VALUE", help=text
        )
    elif choices is not None:
        parser.add_argument(option, default=SUPPRESS, choices=choices, help=text)
    elif kind in _METAVARS:
        parser.add_argument(option, default=SUPPRESS, metavar=_METAVARS[kind], help=text)
    else:
        parser.add_argument(option, default=SUPPRESS, metavar="JSON", type=_json_value, help=text)


def _json_value(text: str) -> Any:
    return json.loads(text)


_json_value.__name__ = "JSON"  # argparse names it in "invalid JSON value"


def _kind(annotation: Any) -> tuple[Any, list[str] | None]:
    """Return the type of a field without its constraints and without None, and the values of a closed set.

    The type of a field that needs JSON is `dict`.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (Union, UnionType):
        kinds = [each for each in arguments if each is not NoneType]
        return _kind(kinds[0]) if len(kinds) == 1 else (dict, None)
    if origin is Literal:
        return str, [str(value) for value in arguments]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return str, [str(member.value) for member in annotation]
    if origin is list and _kind(arguments[0])[0] is str:
        return annotation, None
    return (annotation if annotation in (*_METAVARS, bool) else dict), None


def _help(field: FieldInfo) -> str:
    """Return the default and the example of a field. `%` is doubled, because argparse formats help texts."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    has_plain_default = isinstance(default, str | int | float) and default != ""
    parts = [
        "required" if field.is_required() else "",
        f"default: {_text(default)}" if has_plain_default else "",
        f"such as {_text(field.examples[0])}" if field.examples else "",
    ]
    return "; ".join(part for part in parts if part).replace("%", "%%")


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value)


def given_fields(operation: Operation[Any, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the command line gives, from the attributes of argparse's namespace."""
    model: type[RequestModel] = operation.request
    return {name: value for name, value in arguments.items() if name in model.model_fields}
