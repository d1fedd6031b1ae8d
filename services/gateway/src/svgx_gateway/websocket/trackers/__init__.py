"""State of connections and canvases without I/O: awareness owners, saved messages and missed broadcasts."""
