"""`python -m svgx_auth`."""

from svgx_auth.app import build
from svgx_auth.settings import AuthSettings
from svgx_common.runtime import run

if __name__ == "__main__":
    run("auth", AuthSettings, build)
