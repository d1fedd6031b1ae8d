"""The elements, attributes and CSS properties that a canvas may have.

The lists come from the element and attribute indexes of SVG 1.1 and SVG 2, and from the property indexes of the CSS
modules that SVG refers to. Some names are missing, such as those of SVG fonts (font, glyph, …) and animateColor. Four
groups are left out on purpose: elements and attributes that run code (script, event handlers), elements that show
another document or language (foreignObject, iframe, …), elements that fetch a resource by design (cursor, font-face,
color-profile), and the element `metadata`, because its content is not SVG.
"""


def words(text: str) -> frozenset[str]:
    """Return the set of words in a text."""
    return frozenset(text.split())


TEXT_ELEMENTS = frozenset({"text", "tspan", "textPath", "tref"})
"""Elements with drawn character data."""

DESCRIPTIVE_ELEMENTS = frozenset({"title", "desc"})
"""Elements with plain character data that is never drawn."""

ANIMATION_ELEMENTS = frozenset({"animate", "animateMotion", "animateTransform", "set"})

ELEMENTS = (
    TEXT_ELEMENTS
    | DESCRIPTIVE_ELEMENTS
    | ANIMATION_ELEMENTS
    | words(
        """
    a circle clipPath defs ellipse feBlend feColorMatrix feComponentTransfer feComposite
    feConvolveMatrix feDiffuseLighting feDisplacementMap feDistantLight feDropShadow feFlood feFuncA
    feFuncB feFuncG feFuncR feGaussianBlur feImage feMerge feMergeNode feMorphology feOffset
    fePointLight feSpecularLighting feSpotLight feTile feTurbulence filter g image line
    linearGradient marker mask mpath path pattern polygon polyline radialGradient rect stop style
    svg switch symbol use view
    """
    )
)

READ_BY_RESVG = ELEMENTS - ANIMATION_ELEMENTS - DESCRIPTIVE_ELEMENTS - {"mpath", "style", "view"}
"""The elements that resvg 0.48 reads, except for style sheets. It ignores all others with their content."""

REFERENCES = frozenset({"href", "xlink:href"})
"""The allowed attributes with a URL as value. Other URL attributes, such as `src` and `ping`, are not allowed."""

IMAGE_ELEMENTS = frozenset({"image", "feImage"})
"""Elements that may refer to an image in a data: URL.

`feImage` may also refer to a fragment of the same document. All other elements may refer to a fragment only.
"""

PRESENTATION_ATTRIBUTES = words(
    """
    alignment-baseline animation animation-delay animation-direction animation-duration
    animation-fill-mode animation-iteration-count animation-name animation-play-state
    animation-timing-function background-color baseline-shift clip clip-path clip-rule color
    color-interpolation color-interpolation-filters color-rendering cursor cx cy d direction display
    dominant-baseline enable-background fill fill-opacity fill-rule filter flood-color flood-opacity
    font font-family font-feature-settings font-kerning font-size font-size-adjust font-stretch
    font-style font-synthesis font-variant font-variant-alternates font-variant-caps
    font-variant-east-asian font-variant-ligatures font-variant-numeric font-variant-position
    font-variation-settings font-weight glyph-orientation-horizontal glyph-orientation-vertical
    height image-rendering inline-size isolation kerning letter-spacing lighting-color line-height
    marker marker-end marker-mid marker-start mask mask-clip mask-composite mask-image mask-mode
    mask-origin mask-position mask-repeat mask-size mask-type mix-blend-mode offset offset-anchor
    offset-distance offset-path offset-rotate opacity overflow overflow-x overflow-y paint-order
    perspective perspective-origin pointer-events r rotate rx ry scale shape-inside shape-margin
    shape-padding shape-rendering shape-subtract stop-color stop-opacity stroke stroke-dasharray
    stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width
    tab-size text-align text-align-last text-anchor text-decoration text-decoration-color
    text-decoration-line text-decoration-skip-ink text-decoration-style text-decoration-thickness
    text-indent text-orientation text-overflow text-rendering text-shadow text-transform
    text-underline-offset text-underline-position transform transform-box transform-origin
    transform-style transition transition-delay transition-duration transition-property
    transition-timing-function translate unicode-bidi vector-effect visibility white-space
    white-space-collapse width will-change word-spacing writing-mode x y
    """
)
"""The attributes that browsers read as CSS, and the CSS properties with an effect on SVG elements."""

ANIMATION_ATTRIBUTES = words(
    """
    accumulate additive attributeName attributeType begin by calcMode dur end fill from keyPoints
    keySplines keyTimes max min origin path repeatCount repeatDur restart rotate to values
    """
)

LITERAL_ATTRIBUTES = frozenset(
    {"class", "id", "lang", "role", "tabindex", "version", "xlink:title", "xml:lang", "xml:space"}
)
"""Attributes with free text or names. Attributes named `aria-*` or `data-*` are treated in the same way."""

TRANSFORM_ATTRIBUTES = frozenset({"transform", "gradientTransform", "patternTransform"})

ATTRIBUTES = (
    PRESENTATION_ATTRIBUTES
    | ANIMATION_ATTRIBUTES
    | LITERAL_ATTRIBUTES
    | REFERENCES
    | words(
        """
    amplitude azimuth baseFrequency bias clipPathUnits diffuseConstant divisor dx dy edgeMode
    elevation exponent filterUnits fr fx fy gradientTransform gradientUnits in in2 intercept k1 k2
    k3 k4 kernelMatrix kernelUnitLength lengthAdjust limitingConeAngle markerHeight markerUnits
    markerWidth maskContentUnits maskUnits media method mode numOctaves operator order orient path
    pathLength patternContentUnits patternTransform patternUnits points pointsAtX pointsAtY
    pointsAtZ preserveAlpha preserveAspectRatio primitiveUnits radius refX refY requiredExtensions
    requiredFeatures result seed side slope spacing specularConstant specularExponent spreadMethod
    startOffset stdDeviation stitchTiles style surfaceScale systemLanguage tableValues targetX
    targetY textLength type viewBox viewTarget x1 x2 xChannelSelector y1 y2 yChannelSelector z
    """
    )
)

ANIMATABLE = ATTRIBUTES - REFERENCES - frozenset({"attributeName", "id", "style"})
"""The attributes that `attributeName` may name. References are left out, because an animation could set any URL."""
