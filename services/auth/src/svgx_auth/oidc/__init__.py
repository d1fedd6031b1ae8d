"""Sign-in at OpenID Connect providers, and the accounts of users who sign in there."""
