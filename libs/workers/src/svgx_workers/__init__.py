"""Worker processes that import, export, compact and render canvases, and that can be killed."""
