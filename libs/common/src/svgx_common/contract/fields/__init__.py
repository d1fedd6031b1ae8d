"""The types of request fields with rules of their own."""
