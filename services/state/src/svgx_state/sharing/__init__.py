"""Share links: their rows, the accounts that created them, and their handlers."""
