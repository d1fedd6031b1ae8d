"""Build the images of the services, with the version and the revision of this clone."""

import argparse
import sys

from deploy.build import versions
from deploy.build.images import engine
from deploy.build.values import SERVICES


def main() -> None:
    """Build the images, and print their names."""
    parser = argparse.ArgumentParser("python -m deploy.build.images", description=__doc__)
    parser.add_argument(
        "--base", help="image with Python 3.11 to 3.14; the default is the base in the Dockerfiles"
    )
    parser.add_argument("--tag", help="tag of the images; the default is the version")
    arguments = parser.parse_args()
    builder = engine.require()
    version = versions.current()
    values = {"VERSION": version, "REVISION": versions.revision()}
    if arguments.base:
        values["BASE"] = arguments.base
    tags = [f"svgx/{service}:{arguments.tag or version}" for service in SERVICES]
    for service, tag in zip(SERVICES, tags, strict=True):
        try:
            builder.build(service, tag, values)
        except engine.EngineError as error:
            sys.exit(f"failed: {error}")
    print(*tags, sep="\n")


if __name__ == "__main__":
    main()
