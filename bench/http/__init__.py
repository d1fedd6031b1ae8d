"""Measure the cost of the gateway: a handler behind it, compared with the same handler without it."""
