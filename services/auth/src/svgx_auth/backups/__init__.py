"""The export of accounts to backups of the state service, and their import from backups."""
