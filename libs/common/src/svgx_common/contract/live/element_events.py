"""Element events: changes of elements for JSON clients, from the holder of a canvas to the gateways."""

from svgx_common.contract.operation import Channel
from svgx_yjs.record import record

LISTENING_SECONDS = 35.0
"""Time, in seconds, for which the holder sends broadcasts and element events to a gateway after its last sync request.

A gateway sends a sync request at least every 10 s.
"""


@record
class ElementEvents:
    """Changes of a canvas's elements since the event before.

    `epoch` is the epoch of the holder's room. `sequence` counts within the epoch, and skips a number whenever changes
    were not observed or could not be sent. A receiver that finds a gap lacks changes. `operations` is a JSON list of
    the operations of `ElementsEdited`. If it is the empty text, JSON clients must load the canvas again, because the
    changes are too many, take too long to describe, or may be missing.
    """

    epoch: str
    sequence: int
    operations: str


CANVAS_ELEMENTS = Channel(
    subject="svgx.canvas.{canvas_id}.elements",
    summary="The holder's broadcast of changed elements as JSON, while a gateway has JSON clients of the canvas",
    publishers=("collab",),
    subscribers=("gateway",),
    payload=ElementEvents,
)
