"""The contract of the stored data beside the current content: versions, values, backups, links, quotas, events."""
