"""The SVGX document: SVG to Yjs and back, the SVG policy, limits, rendering.

The functions have no state. `import_svg` and `render_png` check each file. `compact` and `state` check each update,
unless an argument states that it was checked before. The other functions expect checked updates. A service calls them
all in a process that can be killed (`svgx_workers.pool`), because a hostile file or document can crash a renderer.
"""

from svgx_canvas.changes.change_elements import Changed, change_elements
from svgx_canvas.changes.replacement import replacement
from svgx_canvas.changes.undo import Undone, undo
from svgx_canvas.changes.yjs_client import YjsClient
from svgx_canvas.difference import difference
from svgx_canvas.document.compaction import Snapshot, compact, state
from svgx_canvas.import_export import Imported, export_json, export_svg, import_svg
from svgx_canvas.limits import DEFAULT_LIMITS, Limits, SvgRefused
from svgx_canvas.policy import Dropped
from svgx_canvas.render import render_png

__all__ = [
    "DEFAULT_LIMITS",
    "Changed",
    "Dropped",
    "Imported",
    "Limits",
    "Snapshot",
    "SvgRefused",
    "Undone",
    "YjsClient",
    "change_elements",
    "compact",
    "difference",
    "export_json",
    "export_svg",
    "import_svg",
    "render_png",
    "replacement",
    "state",
    "undo",
]
