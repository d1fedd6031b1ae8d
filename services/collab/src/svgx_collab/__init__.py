"""Live canvases. One replica at a time holds a canvas."""
