"""Measurements of several loads, or of a load with an event such as the kill of all processes."""
