"""Events of a user interface. Each is carried out as a request with one operation."""

from pydantic import ValidationError

from svgx_collab.content.element_changes import ElementChanges
from svgx_common.contract.errors import FieldError, SvgxError, from_validation
from svgx_common.contract.live.element_changes import ChangeElementsRequest, ElementsChanged
from svgx_common.contract.live.ui_events import UiEventRequest
from svgx_common.messaging.responder import Call

OPERATION = "operations[0]"
"""The name of the operation in the request that stands for an event."""


class UiEvents:
    """The events of user interfaces on one replica."""

    def __init__(self, changes: ElementChanges) -> None:
        self._changes = changes

    async def handle_event(self, event: UiEventRequest, call: Call) -> ElementsChanged:
        """Carry out the change of an event. Raises the errors of `change_elements`, with the fields of the event."""
        try:
            return await self._changes.change_elements(_request(event), call)
        except SvgxError as error:
            _name_fields_of_event(error)
            raise


def _request(event: UiEventRequest) -> ChangeElementsRequest:
    """Return the request that stands for an event. Raise `Invalid` if a field is missing or wrong."""
    fields = {
        "canvas_id": event.canvas_id,
        "operations": [event.operation],
        "undo_group": event.undo_group,
    }
    try:
        return ChangeElementsRequest.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error) from None


def _name_fields_of_event(error: SvgxError) -> None:
    """Replace the names of fields of the operation in an error with those of the event."""
    if error.field is None or not error.field.startswith("operations"):
        return
    name = _name_in_event(error.field)
    error.detail = error.detail.replace(error.field, name, 1)
    error.field = name
    if error.errors:
        error.errors = [
            FieldError(field=_name_in_event(each.field), detail=each.detail)
            for each in error.errors
        ]


def _name_in_event(field: str) -> str:
    name = field.removeprefix(OPERATION).removeprefix(".")
    if name == "id":
        return "object_id"
    return f"data.{name}" if field != name and name else "data"
