"""The dashboards, each in a module, and the queries that several of them have."""
