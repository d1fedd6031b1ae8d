"""How many requests somebody may make: counted in Redis for all gateways, or here when Redis is gone."""
