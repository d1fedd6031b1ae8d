"""The parser of the command line: the commands are the names of operations without their services."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction
from inspect import cleandoc
from typing import Any

from svgx_client.command import fields
from svgx_client.command.settings import VARIABLES
from svgx_common.contract import OPERATIONS
from svgx_common.contract.operation import Blob, Operation, RequestModel, is_raw

# The names of fields are Python identifiers, so these attributes of the namespace never collide with a field.
OPERATION = "the operation"
JSON_FILE = "--json"
INPUT_FILE = "--input"
OUTPUT_FILE = "--output"
ALL_PAGES = "--all"


def commands() -> dict[tuple[str, ...], Operation[Any, Any]]:
    """Return the operations by the words of their commands, such as `canvas create` for `state.canvas.create`.

    The operations of sign-in at an OpenID Connect provider are left out, because they need a browser.
    """
    return {
        tuple(operation.name.replace("_", "-").split(".")[1:]): operation
        for operation in OPERATIONS
        if operation.http is not None and operation.http.cookie is None
    }


def is_list(operation: Operation[Any, Any]) -> bool:
    """Return whether the operation's replies are pages of a list."""
    return "cursor" in operation.request.model_fields


def build_parser() -> ArgumentParser:
    """Return the parser of all commands."""
    parser = ArgumentParser(
        prog="svgx",
        description="Call an operation of an SVGX Engine, and print its reply as JSON.",
        epilog=VARIABLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups: dict[tuple[str, ...], _SubParsersAction[ArgumentParser]] = {(): _subparsers(parser)}
    members: dict[tuple[str, ...], list[str]] = {}
    for words in sorted(commands()):
        for length in range(1, len(words)):
            members.setdefault(words[:length], []).append(" ".join(words[length:]))
    for words, operation in sorted(commands().items()):
        for length in range(1, len(words)):
            name = words[:length]
            if name not in groups:
                groups[name] = _subparsers(
                    groups[name[:-1]].add_parser(
                        name[-1], help=", ".join(members[name]), allow_abbrev=False
                    )
                )
        _add_command(groups[words[:-1]], words[-1], operation)
    return parser


def _subparsers(parser: ArgumentParser) -> "_SubParsersAction[ArgumentParser]":
    return parser.add_subparsers(required=True, metavar="COMMAND", title="commands")


def _add_command(
    group: "_SubParsersAction[ArgumentParser]", word: str, operation: Operation[Any, Any]
) -> None:
    model: type[RequestModel] = operation.request
    notes = cleandoc(model.__dict__.get("__doc__") or "")
    parser = group.add_parser(
        word,
        help=operation.summary.replace("%", "%%"),
        description=f"{operation.summary}.\n\n{notes}".replace("%", "%%"),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(**{OPERATION: operation})
    fields.add_fields(parser, operation)
    if is_raw(model):
        text = "the file with the content; - is the standard input"
        parser.add_argument(INPUT_FILE, dest=INPUT_FILE, metavar="FILE", required=True, help=text)
    elif set(model.model_fields) - set(fields.positional_fields(operation)):
        text = "a file with further fields as a JSON object; - is the standard input"
        parser.add_argument(JSON_FILE, dest=JSON_FILE, metavar="FILE", help=text)
    if operation.reply is Blob:
        text = "the file to write; - is the standard output, and the default"
        parser.add_argument(OUTPUT_FILE, dest=OUTPUT_FILE, metavar="FILE", default="-", help=text)
    if is_list(operation):
        text = "print the items of all pages, each as one line of JSON"
        parser.add_argument(ALL_PAGES, dest=ALL_PAGES, action="store_true", help=text)
