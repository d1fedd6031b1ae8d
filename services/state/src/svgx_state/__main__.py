"""`python -m svgx_state`: run one replica."""

from svgx_common import runtime
from svgx_state.app import build
from svgx_state.settings import StateSettings

if __name__ == "__main__":
    runtime.run("state", StateSettings, build)
