"""The check of a whole canvas after its changes: the export must have all of them, and may not be refused."""

import sys
from collections.abc import Callable
from dataclasses import replace

from svgx_canvas import complexity
from svgx_canvas.limits import Limits, SvgRefused
from svgx_canvas.policy import Report, clean
from svgx_canvas.svg_reader import picture_cleaner
from svgx_canvas.tree import Canvas

_INDEPENDENT_LIMITS = ("expanded_depth", "layers", "style_matches", "image_pixels")
"""The limits that are checked when the cost of a canvas is known. Lifting one of them makes no check take longer."""

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
        if _is_beyond(before(), limits, refusal.field):
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


def _is_beyond(canvas: Canvas, limits: Limits, field: str) -> bool:
    """Return whether a canvas is beyond a limit. It may also be beyond other limits, which are checked earlier."""
    try:
        _left_out(canvas, limits)
    except SvgRefused as refusal:
        if refusal.field == field:
            return True
        if refusal.field not in _INDEPENDENT_LIMITS:
            return False
        return _is_beyond(canvas, replace(limits, **{refusal.field: sys.maxsize}), field)
    return False


def _left_out(canvas: Canvas, limits: Limits) -> _LeftOut:
    """Return the content that an export of the canvas leaves out. Raises `SvgRefused` if there is no export."""
    report = Report()
    pictures = picture_cleaner(limits, report, strict=False)
    complexity.check(clean(canvas, limits, report, pictures), limits)
    return {(each.what, each.reason): each.count for each in report.dropped()}
