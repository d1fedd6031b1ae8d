"""The outline of an update: the result of its check, stored with the update, so that loading needs no second check."""

import sys
import zlib
from collections.abc import Iterator

from svgx_yjs.delete_set import encode_delete_set
from svgx_yjs.lib0 import Decoder, Encoder, Malformed
from svgx_yjs.nesting import ListLengths, Nesting, list_id
from svgx_yjs.parts import Split, Step
from svgx_yjs.record import record
from svgx_yjs.splitting import split

STEP_STRUCTS = 256
"""The most structs in a step that unites smaller steps. pycrdt stops all threads while it integrates a step."""

_FORMAT = f"3 {sys.byteorder} {list_id((1, 2), 'key')}"
"""The version of the encoding, the byte order, and one sample of `list_id`.

Outlines contain ids made by `list_id`. If another version of `list_id` made them, the outline is not read.
"""


@record
class Outline:
    """The steps in which an empty document can integrate an update, and the positions of its structs and deletions."""

    structs: int
    """The number of structs in the update."""
    steps: tuple[Step, ...]
    """Ranges of the update's structs, in an order in which a document can integrate them."""
    deletions_at: int
    """The position of the delete set in the update."""
    nesting: Nesting
    longest_list: int
    """An upper bound of the number of clocks in the update's longest list."""


def make_outline(update: bytes, parts: Split | None = None) -> bytes | None:
    """Return the outline of an update, encoded, or None if the update gets no outline.

    `parts` is the `Split` of the update for an empty document, or None if the caller has not split the update.

    An update gets no outline in three cases: an empty document cannot integrate the whole update, the update is too
    short to have steps, or its delete set is not encoded as `encode_delete_set` would encode it. Raises `Malformed` if
    the update is not valid.
    """
    if parts is None:
        parts = split(update, {}, Nesting())
    nesting = parts.nesting
    deletions = encode_delete_set(Encoder(), parts.deletions).finish()
    # `split` returns the same object if it left nothing out. The length of our encoding of the delete set gives the
    # position of the delete set, so the update must end with this encoding.
    if parts.ready is not update or not parts.steps or not update.endswith(deletions):
        return None
    assert isinstance(nesting, Nesting), "an update with steps has a Nesting"
    steps = [*_unite_steps(parts.steps)]
    body = Encoder().uint(parts.structs).uint(len(update) - len(deletions)).uint(len(steps))
    for step in steps:
        for number in step:
            body.uint(number)
    nesting.encode(body)
    lists = ListLengths()
    lists.add(nesting)
    body.uint(lists.longest)
    content = body.finish()
    checksums = zlib.crc32(update), zlib.crc32(content)
    return Encoder().text(_FORMAT).uint(checksums[0]).uint(checksums[1]).raw(content).finish()


def read_outline(outline: bytes, update: bytes) -> Outline | None:
    """Return the outline of an update.

    Return None if `outline` has another format, belongs to another update or is damaged.
    """
    try:
        decoder = Decoder(outline)
        if decoder.text() != _FORMAT or decoder.uint() != zlib.crc32(update):
            return None
        checksum = decoder.uint()
    except Malformed:
        return None
    if checksum != zlib.crc32(memoryview(outline)[decoder.position :]):
        return None
    structs, deletions_at = decoder.uint(), decoder.uint()
    steps = tuple([Step(*[decoder.uint() for _ in Step._fields]) for _ in range(decoder.uint())])
    return Outline(structs, steps, deletions_at, Nesting.decode(decoder), decoder.uint())


def _unite_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Unite consecutive steps of one client, up to `STEP_STRUCTS` structs."""
    united: Step | None = None
    for step in steps:
        if united is None:
            united = step
        elif (
            united.client == step.client
            and united.end == step.start
            and united.structs + step.structs <= STEP_STRUCTS
        ):
            united = Step(
                united.structs + step.structs, step.client, united.clock, united.start, step.end
            )
        else:
            yield united
            united = step
    if united is not None:
        yield united
