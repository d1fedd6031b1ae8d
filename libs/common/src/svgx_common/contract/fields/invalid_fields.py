"""The names of invalid fields, and the reasons that callers read, from the faults that Pydantic reports."""

import re

from pydantic_core import ErrorDetails

from svgx_common.contract.fields.patterns import SENTENCES

MAX_FIELD_NAME_CHARACTERS = 200
"""Largest length of a field's name in an answer, in characters. Longer names, which callers can send, are cut."""

OPERATION_KINDS = frozenset({"create", "update", "move", "delete"})
"""The values of `op` in the operations of `ElementChange`. Pydantic names them between an index and a field."""

_KEY = "[key]"
"""The last part of Pydantic's location of a wrong key of a map, after the key."""

_ENUM_MEMBER = re.compile(r"<\w+\.\w+: ('\w+')>")
"""A member of an enumeration in Python's notation, such as `<Role.ADMIN: 'admin'>`."""


def field_name(fault: ErrorDetails) -> str:
    """Return the name of the field, such as `operations[3].id`, or `body`."""
    location = fault["loc"]
    if location[-1:] == (_KEY,):
        location = location[:-1]
    if fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, str(fault["ctx"]["discriminator"]).strip("'"))
    name = ""
    for before, part in zip(("", *location), location, strict=False):
        if isinstance(part, int):
            name += f"[{part}]"
        elif not (isinstance(before, int) and part in OPERATION_KINDS):
            name += f".{part}" if name else part
    return name[:MAX_FIELD_NAME_CHARACTERS] or "body"


def reason(fault: ErrorDetails) -> str:
    """Return the reason without the value of the field, because the value may be a secret."""
    message = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "string_pattern_mismatch":
            return SENTENCES.get(fault["ctx"]["pattern"], message)
        case "union_tag_not_found":
            return "Field required"
        case "union_tag_invalid":
            return f"Input should be one of {fault['ctx']['expected_tags']}"
        case "literal_error":
            return _ENUM_MEMBER.sub(r"\1", message)
        case _:
            return message
