"""Benchmarks of the state service."""
