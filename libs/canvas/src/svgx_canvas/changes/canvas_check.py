"""The check of a whole canvas after its changes: the export must have all of them, and may not be refused."""

from collections.abc import Callable

from svgx_canvas import complexity
from svgx_canvas.limits import Limits, SvgRefused
from svgx_canvas.policy import Report, clean
from svgx_canvas.svg_reader import picture_cleaner
from svgx_canvas.tree import Canvas

_LeftOut = dict[tuple[str, str], int]
"""The number of occurrences by kind and reason (see `Dropped`)."""


def check_canvas(
    after: Canvas,
    before: Callable[[], Canvas],
    limits: Limits,
    field: str,
    *,
    is_new: bool = True,
) -> None:
    """Raise `SvgRefused` if the changes bring the canvas beyond a limit, or if an export would leave out more content.

    A canvas that was beyond the limit before is accepted, because Yjs clients can make such a canvas, and changes are
    needed to correct it. If the content is not new, because an undo restores it, the export may leave out content that
    the policy forbids. `before` is called only if something is wrong. `field` is the field of a refusal.
    """
    try:
        left_out = _left_out(after, limits)
    except SvgRefused as refusal:
        try:
            _left_out(before(), limits)
        except SvgRefused as earlier:
            if earlier.field == refusal.field:
                return
        raise SvgRefused(
            refusal.code, field, refusal.limit, refusal.actual, refusal.detail
        ) from None
    if not left_out:
        return
    try:
        left_out_before = _left_out(before(), limits)
    except SvgRefused:
        return
    for (what, reason), count in left_out.items():
        limit = getattr(limits, reason, None)
        if count > left_out_before.get((what, reason), 0) and (is_new or limit is not None):
            raise SvgRefused(
                "forbidden",
                field,
                limit,
                detail=f"{field}: an export would leave out {what} ({reason})",
            )


def _left_out(canvas: Canvas, limits: Limits) -> _LeftOut:
    """Return the content that an export of the canvas leaves out. Raises `SvgRefused` if there is no export."""
    report = Report()
    pictures = picture_cleaner(limits, report, strict=False)
    complexity.check(clean(canvas, limits, report, pictures), limits)
    return {(each.what, each.reason): each.count for each in report.dropped()}
