"""The contract of stored data other than the current content, such as versions, values and backups."""
