"""A generator of large SVG files."""

import itertools
import random

_GROUP_SIZE = 100
"""Number of elements in a group, including the group itself."""


def large_svg(elements: int, size: int, seed: int = 1) -> bytes:
    """Return an SVG file of at least `size` bytes with `elements` elements below the root.

    One element in each hundred is a group of the other 99. The same arguments give the same file.
    """
    rng = random.Random(seed)
    per_element = size // elements
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4000 3000">']
    for first in range(0, elements, _GROUP_SIZE):
        lines.append(f'<g id="group-{first}" fill-opacity="0.9">')
        lines += [
            _path(rng, number, per_element)
            for number in range(first + 1, min(first + _GROUP_SIZE, elements))
        ]
        lines.append("</g>")
    lines.append("</svg>")
    return "\n".join(lines).encode()


def _path(rng: random.Random, number: int, size: int) -> str:
    x, y = rng.randrange(4000), rng.randrange(3000)
    head = f'<path id="path-{number}" fill="#{rng.randrange(1 << 24):06x}" d="M{x} {y}'
    points: list[str] = []
    length = len(head)
    for _ in itertools.count():
        # Make paths 2 % longer than the average, because groups are shorter.
        if length > size * 1.02:
            break
        points.append(f"l{rng.uniform(-9, 9):.2f} {rng.uniform(-9, 9):.2f}")
        length += len(points[-1])
    return f'{head}{"".join(points)}z"/>'
