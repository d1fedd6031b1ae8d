"""The keys that sign access tokens and the keys derived from them."""
