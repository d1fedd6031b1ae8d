"""State of connections and canvases without I/O: awareness, saved messages and missed broadcasts."""
