"""The new password that a command sets for an account: generated, or read from standard input.

The password is never an argument, because other users of a machine can read the arguments of a process, and shells keep
arguments in their history.
"""

import argparse
import getpass
import secrets
import sys

RANDOM_BYTES = 18
"""Random bytes of a generated password: 24 characters."""


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that takes the password from standard input."""
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of standard input; by default, a generated one is printed once",
    )


def choose(*, from_stdin: bool) -> tuple[str, bool]:
    """Return the password, and whether it was generated.

    On a terminal, `from_stdin` asks for the password without showing it.
    """
    if not from_stdin:
        return secrets.token_urlsafe(RANDOM_BYTES), True
    if sys.stdin.isatty():
        return getpass.getpass("New password: "), False
    return sys.stdin.readline().rstrip("\r\n"), False


def report(password: str, *, generated: bool) -> None:
    """Print a generated password. A password from standard input is not printed, because the operator knows it."""
    if generated:
        print(f"password: {password}")
        print("This is the only time that it is shown. Change it after the first log-in.")
