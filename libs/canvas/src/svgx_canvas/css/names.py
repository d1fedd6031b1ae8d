"""The CSS properties, at-rules and functions that a canvas may have.

The lists come from the indexes of the CSS modules and from MDN's data about browsers. An unknown name is left out,
because nothing is known about its effect. Of the known names, these are left out on purpose:

- `position`, `inset`, `z-index` and their relatives, which move the picture over the page that contains it;
- `behavior` and `binding`, which run code in old browsers;
- `@import`, `@color-profile` and the function `src`, which fetch a resource;
- `@document`, which applies rules only to documents with certain URLs;
- the function `element`, which shows other parts of the page.
"""

from svgx_canvas.allow_list import PRESENTATION_ATTRIBUTES, words

PROPERTIES = PRESENTATION_ATTRIBUTES | words(
    """
    accent-color align-content align-items align-self all animation-composition animation-range
    animation-range-end animation-range-start animation-timeline animation-trigger appearance
    aspect-ratio backdrop-filter backface-visibility background background-attachment
    background-blend-mode background-clip background-image background-origin
    background-position background-position-x background-position-y background-repeat
    background-size baseline-source block-size border border-block border-block-color
    border-block-end border-block-end-color border-block-end-style border-block-end-width
    border-block-start border-block-start-color border-block-start-style
    border-block-start-width border-block-style border-block-width border-bottom
    border-bottom-color border-bottom-left-radius border-bottom-right-radius
    border-bottom-style border-bottom-width border-collapse border-color border-end-end-radius
    border-end-start-radius border-image border-image-outset border-image-repeat
    border-image-slice border-image-source border-image-width border-inline border-inline-color
    border-inline-end border-inline-end-color border-inline-end-style border-inline-end-width
    border-inline-start border-inline-start-color border-inline-start-style
    border-inline-start-width border-inline-style border-inline-width border-left
    border-left-color border-left-style border-left-width border-radius border-right
    border-right-color border-right-style border-right-width border-shape border-spacing
    border-start-end-radius border-start-start-radius border-style border-top border-top-color
    border-top-left-radius border-top-right-radius border-top-style border-top-width
    border-width box-decoration-break box-shadow box-sizing break-after break-before
    break-inside caption-side caret caret-animation caret-color caret-shape clear color-scheme
    column-count column-fill column-gap column-height column-rule column-rule-color
    column-rule-style column-rule-width column-span column-width column-wrap columns contain
    contain-intrinsic-block-size contain-intrinsic-height contain-intrinsic-inline-size
    contain-intrinsic-size contain-intrinsic-width container container-name container-type
    content content-visibility corner-block-end-shape corner-block-start-shape
    corner-bottom-left-shape corner-bottom-right-shape corner-bottom-shape corner-end-end-shape
    corner-end-start-shape corner-inline-end-shape corner-inline-start-shape corner-left-shape
    corner-right-shape corner-shape corner-start-end-shape corner-start-start-shape
    corner-top-left-shape corner-top-right-shape corner-top-shape counter-increment
    counter-reset counter-set dynamic-range-limit empty-cells flex flex-basis flex-direction
    flex-flow flex-grow flex-line-count flex-shrink flex-wrap float font-language-override
    font-optical-sizing font-palette font-smooth font-synthesis-position
    font-synthesis-small-caps font-synthesis-style font-synthesis-weight font-variant-emoji
    font-width forced-color-adjust gap grid grid-area grid-auto-columns grid-auto-flow
    grid-auto-rows grid-column grid-column-end grid-column-gap grid-column-start grid-gap
    grid-row grid-row-end grid-row-gap grid-row-start grid-template grid-template-areas
    grid-template-columns grid-template-rows hanging-punctuation hyphenate-character
    hyphenate-limit-chars hyphens image-orientation image-resolution initial-letter
    initial-letter-align interpolate-size justify-content justify-items justify-self line-break
    line-clamp line-height-step list-style list-style-image list-style-position list-style-type
    margin margin-block margin-block-end margin-block-start margin-bottom margin-inline
    margin-inline-end margin-inline-start margin-left margin-right margin-top margin-trim
    mask-border mask-border-mode mask-border-outset mask-border-repeat mask-border-slice
    mask-border-source mask-border-width math-depth math-shift math-style max-block-size
    max-height max-inline-size max-lines max-width min-block-size min-height min-inline-size
    min-width object-fit object-position object-view-box offset-position order orphans outline
    outline-color outline-offset outline-style outline-width overflow-anchor overflow-block
    overflow-clip-box overflow-clip-margin overflow-inline overflow-wrap padding padding-block
    padding-block-end padding-block-start padding-bottom padding-inline padding-inline-end
    padding-inline-start padding-left padding-right padding-top page page-break-after
    page-break-before page-break-inside path-length place-content place-items place-self
    print-color-adjust quotes reading-flow reading-order row-gap ruby-align ruby-merge
    ruby-overhang ruby-position scroll-behavior scroll-timeline scroll-timeline-axis
    scroll-timeline-name shape-image-threshold shape-outside solid-color solid-opacity
    stroke-color table-layout text-autospace text-box text-box-edge text-box-trim
    text-combine-upright text-decoration-inset text-decoration-skip text-emphasis
    text-emphasis-color text-emphasis-position text-emphasis-style text-fit text-justify
    text-size-adjust text-spacing-trim text-wrap text-wrap-mode text-wrap-style timeline-scope
    timeline-trigger timeline-trigger-activation-range timeline-trigger-activation-range-end
    timeline-trigger-activation-range-start timeline-trigger-active-range
    timeline-trigger-active-range-end timeline-trigger-active-range-start timeline-trigger-name
    timeline-trigger-source touch-action transition-behavior trigger-scope user-select
    vertical-align view-timeline view-timeline-axis view-timeline-inset view-timeline-name
    widows word-break word-wrap zoom
    """
)
"""The properties allowed in style sheets and `style` attributes, without a browser's prefix."""

_BROWSER_PROPERTIES = words(
    """
    background-composite box-align box-direction box-flex box-ordinal-group box-orient box-pack box-reflect
    font-smoothing mask-box-image mask-box-image-outset mask-box-image-repeat mask-box-image-slice
    mask-box-image-source mask-box-image-width osx-font-smoothing tap-highlight-color text-fill-color
    text-security text-stroke text-stroke-color text-stroke-width
    """
)
"""Properties that exist only with the prefix of a browser."""

_EDITOR_PROPERTIES = frozenset({"-inkscape-font-specification", "-inkscape-stroke"})
"""Properties that drawing programs write for themselves."""

_PREFIXES = ("-webkit-", "-moz-", "-o-")

_REFERRING_PROPERTIES = words(
    """
    backdrop-filter clip-path fill filter marker marker-end marker-mid marker-start mask mask-image offset
    offset-path shape-inside shape-subtract stroke
    """
)
"""Properties in which `url(#a)` refers to an element of the same document. In all other properties, browsers
take `url(#a)` for a picture and fetch the document itself again."""

_PICTURE_PROPERTIES = words(
    """
    background background-image border-image border-image-source box-reflect content cursor list-style
    list-style-image mask-border mask-border-source mask-box-image mask-box-image-source shape-outside
    """
)
"""Properties with a picture as value."""

FUNCTIONS = words(
    """
    abs acos alpha anchor anchor-size annotation asin atan atan2 attr blur brightness calc calc-mix calc-size
    character-variant circle clamp color color-contrast color-mix color-stop conic-gradient content
    contrast contrast-color cos counter counters cross-fade cubic-bezier device-cmyk drop-shadow
    dynamic-range-limit-mix ellipse env exp first-valid fit-content from grayscale hsl hsla hue-rotate hwb hypot
    icc-color ident if image image-set inherit inset interpolate invert lab lch light-dark linear
    linear-gradient log matrix matrix3d max media min minmax mod oklab oklch opacity ornaments paint
    palette-mix param path perspective polygon pow progress radial-gradient random random-item ray rect rem
    repeat repeating-conic-gradient repeating-linear-gradient repeating-radial-gradient rgb rgba rotate
    rotate3d rotatex rotatey rotatez round saturate scale scale3d scalex scaley scalez scroll scroll-state
    selector sepia shape sibling-count sibling-index sign sin skew skewx skewy snap-block snap-inline sqrt
    steps string style styleset stylistic superellipse supports swash symbols tan to toggle translate
    translate3d translatex translatey translatez type var view xywh
    """
)
"""Allowed functions, in lower case. `url` and the arguments of `IMAGE_FUNCTIONS` are checked separately."""

_BROWSER_FUNCTIONS = words(
    """
    calc cross-fade gradient image-set linear-gradient radial-gradient repeating-linear-gradient
    repeating-radial-gradient
    """
)
"""Functions that are allowed with the prefix of a browser. `gradient` exists only with a prefix."""

IMAGE_FUNCTIONS = words("cross-fade image image-set -webkit-cross-fade -webkit-image-set")
"""Functions that take the address of a picture as a string."""

_SUBSTITUTIONS = words(
    "attr env first-valid ident if inherit interpolate param random-item string toggle var"
)
"""Functions that can return a string written elsewhere, such as in an attribute or in a custom property."""

STATEMENT_RULES = words("charset custom-media custom-selector layer")
"""At-rules that end with a semicolon. `@namespace` is checked separately."""

NESTING_RULES = words(
    """
    -moz-keyframes -o-keyframes -webkit-keyframes container else font-feature-values keyframes layer media scope
    starting-style supports when
    """
)
"""At-rules that may contain everything that the block around them may contain."""

_MARGIN_RULES = words(
    """
    bottom-center bottom-left bottom-left-corner bottom-right bottom-right-corner left-bottom
    left-middle left-top right-bottom right-middle right-top top-center top-left top-left-corner
    top-right top-right-corner
    """
)
_FEATURE_RULES = words(
    "annotation character-variant historical-forms ornaments styleset stylistic swash"
)
_VIEWPORT = words(
    "height max-height max-width max-zoom min-height min-width min-zoom orientation user-zoom width zoom"
)

DESCRIPTOR_RULES: dict[str, frozenset[str] | None] = {
    "-ms-viewport": _VIEWPORT,
    "counter-style": words(
        "additive-symbols fallback negative pad prefix range speak-as suffix symbols system"
    ),
    "font-face": words(
        """
        ascent-override descent-override font-display font-family font-feature-settings font-language-override
        font-named-instance font-stretch font-style font-variant font-variation-settings font-weight font-width
        line-gap-override size-adjust src subscript-position-override subscript-size-override
        superscript-position-override superscript-size-override unicode-range
        """
    ),
    "font-palette-values": words("base-palette font-family override-colors"),
    "function": words("result"),
    "page": PROPERTIES | words("bleed marks page-margin-safety page-orientation size"),
    "position-try": PROPERTIES,
    "property": words("inherits initial-value syntax"),
    "view-transition": words("navigation types"),
    "viewport": _VIEWPORT,
    **dict.fromkeys(_MARGIN_RULES, PROPERTIES),
    **dict.fromkeys(_FEATURE_RULES),
}
"""The descriptors of each at-rule that has descriptors.

`None` allows every name, because the author of the style sheet chooses the names in these at-rules.
"""

BLOCK_RULES = NESTING_RULES | DESCRIPTOR_RULES.keys()
"""All at-rules with a block."""


def property_is_allowed(name: str) -> bool:
    """Return whether a style sheet may set a property. `name` is in lower case."""
    if name in PROPERTIES or name.startswith("--") or name in _EDITOR_PROPERTIES:
        return True
    plain = _without_prefix(name)
    return plain != name and (plain in PROPERTIES or plain in _BROWSER_PROPERTIES)


def property_may_refer(name: str) -> bool:
    """Return whether `url(#a)` in a property can refer to an element of the same document. `name` is in lower case.

    The answer for a custom property is True, because another property may use its value.
    """
    return name.startswith("--") or _without_prefix(name) in _REFERRING_PROPERTIES


def property_takes_picture(name: str) -> bool:
    """Return whether a property fetches the URL in its value as a picture. `name` is in lower case."""
    return _without_prefix(name) in _PICTURE_PROPERTIES


def function_is_allowed(name: str) -> bool:
    """Return whether a function may be used. Its arguments are checked separately. `name` is in lower case."""
    # Two dashes start the name of a function that the style sheet defines with `@function`.
    if name in FUNCTIONS or name.startswith("--"):
        return True
    plain = _without_prefix(name)
    return plain != name and plain in _BROWSER_FUNCTIONS


def function_substitutes(name: str) -> bool:
    """Return whether a function can return text that is written in another place. `name` is in lower case."""
    return name in _SUBSTITUTIONS or name.startswith("--")


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name
