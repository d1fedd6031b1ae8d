"""Sign-in at OpenID Connect providers, and the accounts of their users."""
