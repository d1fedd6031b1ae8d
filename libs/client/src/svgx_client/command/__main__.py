"""The command `svgx`. Exit status 0: done; 1: refused or failed; 2: wrong usage; 130: interrupted."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from getpass import getpass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from svgx_client.client import Client
from svgx_client.command import fields
from svgx_client.command.parser import (
    ALL_PAGES,
    INPUT_FILE,
    JSON_FILE,
    OPERATION,
    OUTPUT_FILE,
    build_parser,
    is_list,
)
from svgx_client.command.settings import SettingsError, client_of
from svgx_client.errors import ClientError
from svgx_common.contract.errors import SvgxError, from_validation
from svgx_common.contract.operation import Blob, Empty, Operation, RequestModel, is_raw


class UsageError(Exception):
    """The arguments or the input do not make a valid request. No request was sent."""


def main() -> None:
    """Run the command line, and end the process with its exit status."""
    arguments = vars(build_parser().parse_args())
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader of the output has ended. Python must not flush the rest of the output into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _run(arguments: Mapping[str, Any]) -> int:
    operation: Operation[Any, Any] = arguments[OPERATION]
    try:
        request = _request(operation, arguments)
        asyncio.run(_call(client_of(os.environ), operation, request, arguments))
    except (UsageError, SettingsError) as error:
        return _fail(str(error), 2)
    except SvgxError as error:
        notes = [f" ({note})" for note in getattr(error, "__notes__", ()) if error.status >= 500]
        return _fail(error.detail + "".join(notes), 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}", 1)
    except ClientError as error:
        return _fail(str(error), 1)
    return 0


def _fail(sentence: str, status: int) -> int:
    sys.stderr.write(f"svgx: {sentence}\n")
    return status


def _request(operation: Operation[Any, Any], arguments: Mapping[str, Any]) -> RequestModel:
    """Return the request of a command line. Raise `UsageError` with the wrong field, and without its value."""
    values = fields.given_fields(operation, arguments)
    if arguments.get(JSON_FILE) is not None:
        body = _json_object(_read(arguments[JSON_FILE]))
        if repeated := sorted(values.keys() & body.keys()):
            raise UsageError(
                f"{repeated[0]}: give it in the JSON object or as an argument, not both"
            )
        values |= body
    model: type[RequestModel] = operation.request
    for name, field in model.model_fields.items():
        if fields.is_secret(name) and field.is_required() and name not in values:
            values[name] = _prompt(name)
    if is_raw(model):
        values["content"] = _read(arguments[INPUT_FILE])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(from_validation(error).detail) from None


def _prompt(name: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"{name}: give it in a JSON object, with --json FILE or --json -")
    return getpass(f"{name.replace('_', ' ').capitalize()}: ")


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        raise UsageError("the input of --json is not JSON") from None
    if not isinstance(value, dict):
        raise UsageError("the input of --json is not a JSON object")
    return value


async def _call(
    client: Client,
    operation: Operation[Any, Any],
    request: RequestModel,
    arguments: Mapping[str, Any],
) -> None:
    """Call the operation, and print or store its reply."""
    async with client:
        if is_list(operation) and arguments[ALL_PAGES]:
            async for item in client.items(operation, request):
                print(_json(item, indent=None))
            return
        reply = await client.call(operation, request)
    if isinstance(reply, Blob):
        _write(reply, arguments[OUTPUT_FILE])
    elif not isinstance(reply, Empty):
        print(_json(reply, indent=2))


def _json(value: Any, *, indent: int | None) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json(indent=indent)
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _write(blob: Blob, file: str) -> None:
    """Write the content of a reply, and report data that it lacks."""
    is_text = blob.media_type.startswith("text/") or blob.media_type.endswith(("json", "xml"))
    if file != "-":
        Path(file).write_bytes(blob.content)
    elif is_text or not sys.stdout.isatty():
        sys.stdout.buffer.write(blob.content)
        sys.stdout.flush()
    else:
        raise UsageError(f"the reply is {blob.media_type}; write it to a file with --output FILE")
    if blob.left_out is not None:
        sys.stderr.write(f"svgx: left out: {blob.left_out}\n")


if __name__ == "__main__":
    main()
