"""The refusals of changes. The field of each refusal begins with the number of the operation."""

from svgx_canvas.limits import SvgRefused


def unknown(field: str, identifier: str, with_svg_id: str | None) -> SvgRefused:
    """Return the refusal of an id that no element has. `with_svg_id` is the element with this SVG id."""
    detail = f"{field}: there is no element {identifier!r}"
    if with_svg_id is not None:
        detail += f"; the element with the SVG id {identifier!r} is {with_svg_id!r}"
    return SvgRefused("unknown", field, detail=detail)


def conflict(field: str, detail: str) -> SvgRefused:
    """Return the refusal of a change that the present elements do not permit."""
    return SvgRefused("conflict", field, detail=f"{field}: {detail}")


def malformed(field: str, detail: str) -> SvgRefused:
    """Return the refusal of a field that the element cannot have."""
    return SvgRefused("malformed", field, detail=f"{field}: {detail}")


def forbidden(field: str, reason: str) -> SvgRefused:
    """Return the refusal of content that the SVG policy forbids. `reason` is that of the policy (see `Dropped`)."""
    return SvgRefused(
        "forbidden", field, detail=f"{field}: the SVG policy does not allow this ({reason})"
    )
