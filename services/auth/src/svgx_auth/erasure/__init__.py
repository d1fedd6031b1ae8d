"""The erasure of the personal data of an account."""
