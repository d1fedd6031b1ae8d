"""Contents of canvases: import of SVG files, replacement by an earlier version or a backup, and encoded contents."""
