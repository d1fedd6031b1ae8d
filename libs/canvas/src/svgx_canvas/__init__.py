"""The SVGX document: SVG to Yjs and back, the SVG policy, limits, rendering.

Everything here is a function of its arguments. The functions trust nothing; those that take a file or a document from
outside belong into a process that can be killed, which is what `svgx_workers.pool` runs them in.
"""

from svgx_canvas.document.compaction import compact, state
from svgx_canvas.exchange import Imported, export_json, export_svg, import_svg
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, SvgRefused
from svgx_canvas.policy import Dropped
from svgx_canvas.render import render_png

__all__ = [
    "DEFAULT_LIMITS",
    "Dropped",
    "Imported",
    "Limits",
    "SvgRefused",
    "compact",
    "export_json",
    "export_svg",
    "import_svg",
    "render_png",
    "state",
]
