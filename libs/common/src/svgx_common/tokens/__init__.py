"""Access tokens: their claims, and the keys that sign and verify them."""
