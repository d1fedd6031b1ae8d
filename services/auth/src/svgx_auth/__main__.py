"""`python -m svgx_auth`: the service; `calibrate` measures this machine, `rotate-keys` makes keys."""

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
