"""The patterns of text fields, and the sentences that callers read about values that do not match."""

MAX_KEY_CHARACTERS = 200
"""Largest length of the key of a stored value, in characters."""

IDENTIFIER = r"^[A-Za-z0-9_-]{1,64}$"
USERNAME = r"^[^\s\x00-\x1f\x7f-\x9f]+$"
EMAIL = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$"
NAME = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""The part of `check_display_name`'s rule that a JSON schema can state: no control characters."""
NOTE = r"^[^\x00-\x1f\x7f]*$"
WITHOUT_NULL = r"^[^\x00]*$"
PRINTABLE = r"^[\x20-\x7e]*$"
URL = r"^[\x21-\x7e]+$"
ORDER = r"^[0-9A-Za-z]{0,1024}$"
VALUE_KEY = rf"^[A-Za-z0-9_][A-Za-z0-9_.:@~-]{{0,{MAX_KEY_CHARACTERS - 1}}}$"
VALUE_KEY_PREFIX = rf"^[A-Za-z0-9_.:@~-]{{0,{MAX_KEY_CHARACTERS}}}$"
STATE_TYPE = r"^[a-z][a-z0-9_-]{0,31}$"

SENTENCES = {
    IDENTIFIER: "must have 1 to 64 characters: letters from A to Z, digits, _ and -",
    USERNAME: "must not have spaces or control characters",
    EMAIL: "must be an e-mail address, such as ada@example.org",
    NAME: "must not have control or format characters",
    NOTE: "must not have control characters",
    WITHOUT_NULL: "must not have the character U+0000",
    PRINTABLE: "must have printable ASCII characters only",
    URL: "must have printable ASCII characters only, and no spaces",
    ORDER: "must have at most 1,024 characters: letters from A to Z and digits",
    VALUE_KEY: (
        f"must have 1 to {MAX_KEY_CHARACTERS} characters: letters, digits and _.:@~-, "
        "and a letter, a digit or _ first"
    ),
    VALUE_KEY_PREFIX: f"must have at most {MAX_KEY_CHARACTERS} characters: letters, digits and _.:@~-",
    STATE_TYPE: "must have 1 to 32 characters: lower-case letters, digits, _ and -, and a letter first",
}
