"""The limits on SVG files and canvases, and the error for a file or canvas beyond a limit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds, inclusive. The defaults accept all usual drawings.

    `filter_operations`, `layer_bytes`, `pattern_pixels`, `pixels` and `side` apply to PNG exports. The other limits
    apply to imports, and to exports as SVG, PNG and JSON. A file or canvas beyond a bound is refused, except:

    - From a canvas, elements beyond `depth`, attributes beyond `attributes` or `attribute_length`, and style sheets
      beyond `style_length` are dropped. An SVG picture is dropped if reading it exceeds a limit (from `bytes` to
      `style_length`). A text is cut to `text_length`. The largest pictures are dropped if the canvas is beyond
      `export_bytes` or `image_pixels`. The export names everything that is dropped or cut.
    - A `style` attribute beyond `style_length` is dropped, also from a file.
    """

    bytes: int = 16 * 1024 * 1024
    """Bytes of an imported SVG file. All SVG pictures in a file or canvas together have the same limit, measured
    uncompressed."""
    export_bytes: int = 64 * 1024 * 1024
    """Bytes of an exported SVG file; errors and exports call this limit `bytes` too. The limit is higher than for
    imports, because a canvas can get more pictures than one file has. Measured: a worker that draws 64 MiB of bitmaps
    as PNG takes 583 MiB of address space and 13 s of CPU time."""
    depth: int = 96
    """Levels of elements; the root is level 1. Measured: resvg 0.48 overflows 8 MiB of stack at 120 levels of svg
    elements or 250 levels of other elements."""
    elements: int = 100_000
    """Elements of a file or canvas and of the SVG pictures in it, including elements that the policy drops. A canvas
    may have twice as many texts. A file cannot have more, because its tags separate its texts."""
    attributes: int = 1024
    """Attributes of one element."""
    attribute_length: int = 16 * 1024 * 1024
    """Characters of one attribute's value. The default is that of `bytes`: enough for an image of 12 MB in base64."""
    text_length: int = 4 * 1024 * 1024
    """Characters of one run of character data."""
    entity_expansion: int = 16 * 1024 * 1024
    """Bytes of a file after the expansion of its entity references. Neither the number of entities nor the length of
    their values has a limit of its own, because `bytes` bounds both."""
    style_length: int = 512 * 1024
    """Characters of all style sheets together, and of one `style` attribute."""
    style_matches: int = 100_000_000
    """Selectors times elements, because a renderer tries each selector on each element. Measured: 30 ns per match.

    Added to it are the characters of each rule's declarations times the rule's selectors, because resvg reads the
    declarations of a rule once for each selector. Measured: 40 ns per character."""
    expanded_elements: int = 250_000
    """Elements after the expansion of each `use`, marker, pattern, mask, clip path and filter image. A reference to an
    element that is already being expanded is not expanded again."""
    expanded_depth: int = 96
    """Levels of elements after the expansion that `expanded_elements` describes."""
    image_pixels: int = 32_000_000
    """Pixels of all embedded images. An image that is drawn several times counts several times."""
    filter_operations: int = 2_000_000_000
    """Operations of the filter steps with costs that depend on attributes (morphology, convolution, turbulence), if
    each step is applied to the whole picture. Measured: resvg does 250 million a second."""
    layers: int = 64
    """Layers that a renderer paints on at the same time, for opacity, masks, filters (one per step), blending, clip
    paths and patterns."""
    layer_bytes: int = 640 * 1024 * 1024
    """Bytes of the picture and all its layers, if each layer is as large as the picture."""
    pattern_pixels: int = 64_000_000
    """Pixels of one tile of a pattern."""
    pixels: int = 16_777_216
    """Pixels of the rendered picture: 4096 x 4096, which is 64 MiB."""
    side: int = 16_384
    """Pixels of one side of the rendered picture."""


DEFAULT_LIMITS = Limits()


@dataclass(slots=True)
class Usage:
    """The amounts that a file or canvas and the SVG pictures in it use together."""

    elements: int = 0
    style_length: int = 0
    """Characters of style sheets."""
    picture_bytes: int = 0
    """Bytes of all SVG pictures that were read, uncompressed and with expanded entities."""


class SvgRefused(Exception):
    """A file, a document or a request is beyond a limit, malformed or forbidden.

    code: "too_large" (beyond a limit), "malformed" (not well-formed XML, not SVG or not a Yjs update), "forbidden" (a
    construct that is never accepted, such as an external entity), "unrenderable" (resvg fails), "unknown" (there is no
    such element) or "conflict" (the present elements do not permit the request).
    field: the subject of the error, such as "elements" or "width". limit, actual: numbers, for "too_large"; `actual`
    may be the first value above the limit instead of the full count. For a "malformed" scale, limit is the smallest
    valid one. detail: one sentence for people.
    """

    def __init__(
        self,
        code: str,
        field: str,
        limit: float | None = None,
        actual: int | None = None,
        detail: str = "",
    ) -> None:
        self.code = code
        self.field = field
        self.limit = limit
        self.actual = actual
        self.detail = detail or f"{field}: {actual} is more than the limit of {limit}"
        super().__init__(self.detail)


def check_limit(field: str, limit: int, actual: int, counted: str = "") -> None:
    """Raise `SvgRefused` if `actual` is above `limit`. `counted` names the counted things in the error's detail."""
    if actual > limit:
        detail = f"{counted or field}: {actual} is more than the limit of {limit} ({field})"
        raise SvgRefused("too_large", field, limit, actual, detail)
