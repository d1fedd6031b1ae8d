"""Sign-in at OpenID Connect providers."""
