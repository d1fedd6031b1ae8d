"""Measure the gateway's cost: requests to a handler through the gateway, and to the same handler without a gateway."""
