"""The Yjs wire formats, without I/O: lib0, y-protocols, awareness and the structure of an update."""
