"""Domain events of the services that own tables: the outbox, and its relay."""
