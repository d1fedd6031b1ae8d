"""Measure the cost of the gateway: requests to a handler through the gateway, and to the same handler without it."""
