"""HTTP: one route for each operation, and the middleware around the routes."""
