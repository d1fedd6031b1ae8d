"""Measurements of the state service's storage: `python -m bench.state`."""
