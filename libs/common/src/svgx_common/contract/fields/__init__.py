"""Request fields with rules that a JSON schema cannot state in full."""
