"""The options that building and publishing a release have in common."""

import argparse
import shlex


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options for the images."""
    parser.add_argument("--images", choices=("yes", "no"), default="yes")
    parser.add_argument(
        "--engine",
        type=shlex.split,
        default=[],
        help="image builder with its options, instead of the first builder that works",
    )
