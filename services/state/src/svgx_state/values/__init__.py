"""Values that clients keep under keys, in PostgreSQL, in Redis or in memory."""
