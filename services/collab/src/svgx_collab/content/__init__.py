"""New content of canvases: imports of SVG files, and replacements by an earlier version or a backup."""
