"""The commands for operators that work on the database of accounts."""
