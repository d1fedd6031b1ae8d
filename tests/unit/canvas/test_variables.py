"""Properties that take a picture, and custom properties with a reference such as `url(#b)`. Proves R-SVG-3.

A picture property that uses a custom property is dropped if some custom property of the canvas has a reference.
"""

import pytest

from svgx_canvas import export_svg, import_svg
from tests.unit.canvas.client_documents import raw_document

HEAD = '<svg xmlns="http://www.w3.org/2000/svg"'

DROPPED = [
    f'{HEAD} style="--a:url(#b);background:var(--a)"/>',
    f'{HEAD} style="--a:url(#b)"><g style="background:var(--a)"/></svg>',
    f'{HEAD} style="background:red var(--a)"><style>*{{--a:url("#b")}}</style></svg>',
    f"{HEAD}><style>*{{--a:url(#b)}}</style><style>.c{{background:var(--a)}}</style></svg>",
    f"{HEAD}><style>@keyframes k{{to{{--a:url(#b)}}}}.c{{d{{background:var(--a)}}}}</style></svg>",
    f"{HEAD}><style>*{{--a:u\\72l(#b);--c:var(--a);background:image(var(--c))}}</style></svg>",
    f"{HEAD}><style>*{{--a:url(#b);list-style:if(else: var(--a));background:--f()}}</style></svg>",
    f'{HEAD} style="--a:x{{url(#b)}}"><g style="background:inherit(--a)"/></svg>',
]

KEPT = [
    f'{HEAD} style="--a:url(#b);fill:var(--a);cursor:auto"></svg>',
    f'{HEAD} style="--a:red;background:var(--a);fill:url(#b)"></svg>',
    f"{HEAD}><style>*{{--a:#fff;background:var(--a);mask:url(#b)}}</style></svg>",
    f'{HEAD} style="--a:url(data:image/gif;base64,R0lGODlhAQABAAAAACw=);background:var(--a)"></svg>',
]


@pytest.mark.parametrize("file", DROPPED)
def test_picture_from_a_custom_property_with_a_reference_is_dropped(file: str) -> None:
    state = raw_document(file.encode())
    assert state is not None
    for out in (export_svg(import_svg(file.encode(), None).update), export_svg(state)):
        assert b"background:" not in out
        assert b"list-style:" not in out
        assert b"--a:" in out


def test_picture_attribute_from_a_custom_property_with_a_reference_is_dropped() -> None:
    file = f'{HEAD} style="--a:url(#b)"><g cursor="var(--a)" fill="var(--a)"/></svg>'
    out = export_svg(import_svg(file.encode(), None).update)
    assert b'<g fill="var(--a)"/>' in out


@pytest.mark.parametrize("file", KEPT)
def test_other_custom_properties_are_kept(file: str) -> None:
    """The file is the same after import and export. Proves R-SVG-2."""
    out = export_svg(import_svg(file.encode(), None).update)
    assert out == file.encode()
