"""`python -m svgx_collab`: run one replica."""

from svgx_collab.app import build
from svgx_collab.settings import CollabSettings
from svgx_common.runtime import run

if __name__ == "__main__":
    run("collab", CollabSettings, build)
