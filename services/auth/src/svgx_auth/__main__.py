"""Run the auth service, or one of its commands.

`python -m svgx_auth` runs the service. `python -m svgx_auth calibrate` prints the most expensive Argon2id parameters
that this machine can afford. `python -m svgx_auth rotate-keys` adds a signing key.
"""

import sys

from svgx_auth import calibrate, rotate_keys
from svgx_auth.app import build
from svgx_auth.settings import AuthSettings
from svgx_common.runtime import run

if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            run("auth", AuthSettings, build)
        case ["calibrate", *arguments]:
            calibrate.main(arguments)
        case ["rotate-keys", *arguments]:
            rotate_keys.main(arguments)
        case _:
            sys.exit("usage: python -m svgx_auth [calibrate | rotate-keys]")
