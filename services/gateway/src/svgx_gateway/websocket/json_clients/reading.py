"""Read the text of a JSON client's message."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from svgx_common.contract.errors import BadRequest, TooLarge, from_validation
from svgx_common.contract.live.element_changes import MAX_BODY_BYTES
from svgx_common.contract.live.json_messages import CLIENT_MESSAGES, ClientMessage
from svgx_gateway.http.messages import check_json_values


@dataclass(frozen=True, slots=True)
class ReceivedText:
    """A message of a known type. Its other fields are not checked yet."""

    type: str
    id: str | None
    """The client's id for the message, if it is a text."""
    text: bytes

    def read(self) -> ClientMessage:
        """Return the message. Raises `Invalid` with the field that is wrong."""
        try:
            return CLIENT_MESSAGES[self.type].model_validate_json(self.text, strict=True)
        except ValidationError as error:
            raise from_validation(error) from None


def receive(text: str) -> ReceivedText:
    """Return the message in a text.

    Raises `TooLarge` for more than `MAX_BODY_BYTES` or too many values. Raises `BadRequest` if the text is not a JSON
    object with a known `type`.
    """
    encoded = text.encode()
    if len(encoded) > MAX_BODY_BYTES:
        raise TooLarge(f"a message has at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)
    check_json_values(encoded)
    members = _parse(encoded)
    kind = members.get("type") if isinstance(members, dict) else None
    if not isinstance(kind, str) or kind not in CLIENT_MESSAGES:
        known = ", ".join(CLIENT_MESSAGES)
        # The detail becomes the reason of the close, which has room for 120 bytes.
        raise BadRequest(f"unknown type; known: {known}")
    message_id = members.get("id")
    return ReceivedText(kind, message_id if isinstance(message_id, str) else None, encoded)


def _parse(text: bytes) -> Any:
    """Return the value of a JSON text. Raises `BadRequest`.

    A text with an unpaired surrogate is JSON, although `from_json` refuses it. `ReceivedText.read` then refuses the
    message, and the connection stays open.
    """
    try:
        try:
            return from_json(text)
        except ValueError:
            return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("the message is not JSON") from None
