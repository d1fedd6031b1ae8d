"""Access tokens: the keys that sign them, and their claims."""
