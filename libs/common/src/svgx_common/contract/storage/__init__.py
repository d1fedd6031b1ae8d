"""The contract of the stored data beside the current content, such as versions, values and backups."""
