"""The users of a NATS server: their keys, their permissions, and the commands that print them."""
