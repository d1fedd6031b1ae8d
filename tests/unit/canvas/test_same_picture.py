"""An imported drawing looks the same as before, in Chromium and in resvg, and fetches nothing."""

import base64
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import resvg_py

from svgx_canvas import export_svg, import_svg
from tests.unit.canvas.css_cases import EVIL, FETCHING_RULES, FETCHING_VALUES, PICTURE_PROPERTIES
from tests.unit.canvas.drawings import BETTER_IN_RESVG, DRAWINGS

BROWSER = next(filter(None, map(shutil.which, ["chromium-headless-shell", "chromium"])), "")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium")

_CELL_PIXELS = 60
"""The side of the square for one drawing, in pixels."""


def exported(drawing: str) -> str:
    return export_svg(import_svg(drawing.encode(), None).update).decode()


def screenshot(url: str, target: Path) -> bytes:
    """Return a PNG of a page in Chromium."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--window-size=600,800", "--virtual-time-budget=500", f"--screenshot={target}"]
    subprocess.run([BROWSER, *options, url], capture_output=True, check=True, timeout=60)
    return target.read_bytes()


def picture(drawings: list[str], folder: Path) -> bytes:
    """Return a PNG of a page with these drawings side by side."""
    cells = []
    for index, drawing in enumerate(drawings):
        left, top = index % 10 * _CELL_PIXELS, index // 10 * _CELL_PIXELS
        limits = f"max-width:{_CELL_PIXELS}px;max-height:{_CELL_PIXELS}px"
        place = f"position:absolute;left:{left}px;top:{top}px;{limits}"
        data = base64.b64encode(drawing.encode()).decode()
        cells.append(f'<img style="{place}" src="data:image/svg+xml;base64,{data}">')
    page = folder / "page.html"
    page.write_text("<!doctype html><body>" + "".join(cells))
    return screenshot(page.as_uri(), folder / "page.png")


@needs_browser
def test_drawings_look_the_same_in_chromium_after_import(tmp_path: Path) -> None:
    """Pictures before and after the import are equal. Proves R-SVG-2, R-SVG-11, R-SVG-12, R-SVG-13 and R-SVG-14."""
    before = list(DRAWINGS.values())
    after = list(map(exported, before))
    if picture(before, tmp_path) != picture(after, tmp_path):
        changed = [
            name
            for name, drawing in DRAWINGS.items()
            if picture([drawing], tmp_path) != picture([exported(drawing)], tmp_path)
        ]
        assert changed == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_looks_the_same_in_resvg_after_import(name: str) -> None:
    """The pictures before and after the import differ only for the drawings in `BETTER_IN_RESVG`. Proves R-SVG-2."""
    before, after = (
        resvg_py.svg_to_bytes(svg_string=drawing, dpi=96)
        for drawing in (DRAWINGS[name], exported(DRAWINGS[name]))
    )
    assert (before == after) == (name not in BETTER_IN_RESVG)


class _Server:
    """An HTTP server that answers with one drawing and records the path of each request."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.drawing = ""
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                found = self.path == "/drawing.svg"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "image/svg+xml")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(server.drawing.encode() if found else b"")

            def log_request(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def requests(self, drawing: str, target: Path) -> list[str]:
        """Return the paths that Chromium requests while it shows a drawing, except the path of the drawing."""
        self.drawing = drawing
        self.paths.clear()
        screenshot(f"{self.url}/drawing.svg", target)
        assert self.paths[0] == "/drawing.svg"
        return self.paths[1:]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    yield server
    server.close()


def hostile_drawing(url: str) -> str:
    """Return a drawing with all CSS of `css_cases` that fetches something. It fetches from the server at `url`."""
    names = ["fill", "filter", "mask-image", "--u", *PICTURE_PROPERTIES]
    rules = [f".a{{{name}:{value}}}" for value in [*FETCHING_VALUES, "url(#a)"] for name in names]
    rules += FETCHING_RULES.values()
    rules += [
        ".a{--r:url(#a);background:var(--r)}",
        f".a{{--s:'{EVIL}';content:image-set(var(--s) 1x)}}",
    ]
    sheets = []
    for index, rule in enumerate(rules):
        text = rule.replace(EVIL, f"{url}/{index}").replace(
            "//evil.example", url.removeprefix("http:")
        )
        text = text.replace(".a{", f".a{index}{{", 1).replace("&", "&amp;").replace("<", "&lt;")
        sheets.append(f"<style>{text}</style>")
    classes = " ".join(f"a{index}" for index in range(len(rules)))
    shapes = [f'<text class="a{index}" data-u="{url}/attr">x</text>' for index in range(len(rules))]
    shapes += [f'<rect class="a {classes}" width="9" height="9"/><g class="k a b c u"/>']
    shapes += ['<image href="#a" width="9" height="9"/><image href=" #" width="9" height="9"/>']
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(sheets)}{"".join(shapes)}</svg>'


@needs_browser
def test_hostile_drawing_causes_no_request_in_chromium(server: _Server, tmp_path: Path) -> None:
    """Before the import, the drawing causes at least ten requests; after it, none. Proves R-SVG-3."""
    drawing = hostile_drawing(server.url)
    target = tmp_path / "page.png"
    assert len(set(server.requests(drawing, target))) >= 10
    assert server.requests(exported(drawing), target) == []
