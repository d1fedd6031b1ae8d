"""Events of a user interface, each with the change of one element: models and operation."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from svgx_common.contract.errors import (
    Conflict,
    Invalid,
    NotFound,
    QuotaExceeded,
    QuotaFull,
    TooLarge,
)
from svgx_common.contract.live.element_changes import (
    MAX_BODY_BYTES,
    ElementId,
    ElementsChanged,
    Order,
    ParentId,
    Tag,
    UndoGroup,
)
from svgx_common.contract.operation import Http, Operation, RequestModel
from svgx_common.contract.policy import CanvasRole, RateClass, Scope
from svgx_common.contract.state import CanvasRequest


class UiEventData(RequestModel):
    """The fields of the event's operation, except for `op` and `id` (see `ChangeElementsRequest`)."""

    tag: Tag | None = None
    attrs: Mapping[str, str | None] | None = None
    text: str | None = None
    parent: ParentId | None = None
    before: ElementId | None = None
    after: ElementId | None = None
    order: Order | None = None


class UiEventRequest(CanvasRequest):
    """One change of an element. `event_type` is the kind of the operation, and `object_id` the id of the element.

    Only `create` may leave out `object_id`; the server then chooses the id. In `update`, the id "" stands for the root.
    Events of an account with the same `undo_group`, one directly after the other, are undone together.
    """

    event_type: Literal["create", "update", "move", "delete"] = Field(examples=["create"])
    object_id: ParentId | None = None
    data: UiEventData = Field(
        UiEventData(),
        examples=[{"tag": "circle", "attrs": {"cx": "50", "cy": "50", "r": "9", "fill": "teal"}}],
    )
    undo_group: UndoGroup | None = None

    @property
    def adds_content(self) -> bool:
        """Return whether the event is not a deletion."""
        return self.event_type != "delete"

    @property
    def operation(self) -> dict[str, Any]:
        """Return the operation that the event stands for."""
        operation = {"op": self.event_type, **self.data.model_dump(exclude_none=True)}
        # Null has a meaning for an attribute: it removes the attribute.
        if self.data.attrs is not None:
            operation["attrs"] = dict(self.data.attrs)
        if self.object_id is not None:
            operation["id"] = self.object_id
        return operation


HANDLE_UI_EVENT = Operation(
    subject="svgx.collab.elements.event",
    summary="Create, update, move or delete one element, as an event of a user interface",
    request=UiEventRequest,
    reply=ElementsChanged,
    scope=Scope.SIGNED_IN,
    canvas_role=CanvasRole.EDITOR,
    http=Http("POST", "/runtime/ui-event/"),
    rate=RateClass.WRITE,
    timeout=60.0,
    max_body=MAX_BODY_BYTES,
    writes_content=True,
    errors=(NotFound, Conflict, Invalid, TooLarge, QuotaExceeded, QuotaFull),
)
