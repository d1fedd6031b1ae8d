"""The dashboards, each in its own module, and the queries that several dashboards use."""
