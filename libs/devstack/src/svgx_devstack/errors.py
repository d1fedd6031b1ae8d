"""The one error of this package."""


class StackError(Exception):
    """The stack cannot start or go on. The message is one line that says what is wrong and what to do."""
