"""Measurements, by `make bench`."""
