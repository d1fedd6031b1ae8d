"""HTTP: one route per operation, and the middleware around the routes."""
