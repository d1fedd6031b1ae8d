"""Benchmarks, run by `make bench`, `make bench-collab` and `make bench-state`."""
