"""The benchmark of live editing: the same load against `make run`'s stack and against other Yjs servers."""
