"""Live canvases: each one held by one replica at a time."""
