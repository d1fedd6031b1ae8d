"""Contents of canvases: imports of SVG files, replacements by an earlier version or a backup, and encoded contents."""
