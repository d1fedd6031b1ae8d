"""Rate limits: counted in Redis for all gateways together, or in this process while Redis is not reachable."""
