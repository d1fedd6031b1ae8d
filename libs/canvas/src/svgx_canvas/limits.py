"""What an SVG file or a canvas may cost, and the refusal of one that costs more."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds, each inclusive. The defaults let through every drawing that people make by hand or by program."""

    bytes: int = 16 * 1024 * 1024
    """Bytes of an SVG file, in or out."""
    depth: int = 96
    """Elements inside one another; the root is at depth 1. Measured: resvg 0.48 overflows 8 MiB of stack at 120
    svg elements or 250 others."""
    elements: int = 100_000
    """Elements of a file, with those that the policy drops. Character data is bounded by `bytes` alone."""
    attributes: int = 256
    """Attributes of one element."""
    attribute_length: int = 8 * 1024 * 1024
    """Characters of one attribute's value: a picture of 6 MB as base64 fits."""
    text_length: int = 1024 * 1024
    """Characters of one run of character data, comment or processing instruction."""
    entities: int = 64
    """General entities declared inside the file."""
    entity_length: int = 1024
    """Characters of one entity's value."""
    entity_expansion: int = 1024 * 1024
    """Characters that all references to entities expand to."""
    style_length: int = 512 * 1024
    """Characters of all style sheets, and of one `style` attribute."""
    style_matches: int = 100_000_000
    """Selectors times elements: a renderer tries each on each. Measured: 30 ns."""
    expanded_elements: int = 250_000
    """Elements after every `use`, marker, pattern, mask, clip path and filter picture has been filled in."""
    expanded_depth: int = 96
    """Elements inside one another after the same."""
    image_pixels: int = 32_000_000
    """Pixels of all embedded pictures, each counted as often as it is shown."""
    filter_operations: int = 2_000_000_000
    """Operations of the filter steps whose work depends on their numbers (morphology, convolution, turbulence), were
    each done on the whole picture. Measured: resvg does 250 million a second."""
    layers: int = 64
    """Canvases inside one another that a renderer paints on for opacity, masks, filters (one a step), blending,
    clips and patterns."""
    layer_bytes: int = 640 * 1024 * 1024
    """Bytes of all these, were each as large as the picture."""
    pattern_pixels: int = 64_000_000
    """Pixels of one tile of a pattern."""
    pixels: int = 16_777_216
    """Pixels of the rendered picture (4096 x 4096), 64 MiB."""
    side: int = 16_384
    """Pixels of one side of the rendered picture."""


DEFAULT_LIMITS = Limits()


class SvgRefused(Exception):
    """A file, a document or a request is over a limit, or is not what it should be.

    code: "too_large" (over a limit), "malformed" (not well-formed XML, not SVG, not a Yjs update), "forbidden" (a
    construct that is never accepted, such as an external entity) or "unrenderable".
    field: what it is about, e.g. "elements", "width". limit, actual: numbers, where there are any; `actual` may be
    the first value found over the limit rather than the full count. detail: one sentence for people.
    """

    def __init__(
        self,
        code: str,
        field: str,
        limit: int | None = None,
        actual: int | None = None,
        detail: str = "",
    ) -> None:
        self.code = code
        self.field = field
        self.limit = limit
        self.actual = actual
        self.detail = detail or f"{field}: {actual} is more than the limit of {limit}"
        super().__init__(self.detail)


def require(field: str, limit: int, actual: int, what: str = "") -> None:
    """Raise `SvgRefused` when `actual` is over `limit`; `what` says in words what was counted."""
    if actual > limit:
        detail = f"{what or field}: {actual} is more than the limit of {limit} ({field})"
        raise SvgRefused("too_large", field, limit, actual, detail)
