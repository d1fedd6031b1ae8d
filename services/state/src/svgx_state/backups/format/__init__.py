"""The format of backups: where and how objects are stored, and how a chain of backups is read."""
