"""History: past content, versions, differences between them, pictures of them, and restores."""
