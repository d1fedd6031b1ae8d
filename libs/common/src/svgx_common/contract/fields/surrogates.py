"""Texts with surrogates, which are no Unicode text. UTF-8 cannot encode them, and PostgreSQL refuses them."""


def has_surrogate(text: str) -> bool:
    """Return whether a text has a surrogate.

    In arguments and environment variables, Python turns each byte that is not UTF-8 into a surrogate. JSON permits lone
    surrogates as escapes.
    """
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
