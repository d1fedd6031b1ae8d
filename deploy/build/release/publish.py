"""Publish the images and charts of a release: `python -m deploy.build.release.publish 1.4.0 registry.example.com/team`.

In the registry, the chart of the gateway is `charts/gateway`, and the image of the gateway is `svgx/gateway`. Sign in
first, with the container engine for the images, and with `.tools/helm4 registry login` for the charts.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from deploy.build import tools
from deploy.build.images import engine
from deploy.build.release import options
from deploy.build.values import SERVICES


def main() -> None:
    """Push the images and charts of the release.

    With `--images no`, push only the charts. Otherwise, a release without images is refused.
    """
    parser = argparse.ArgumentParser("python -m deploy.build.release.publish", description=__doc__)
    parser.add_argument("version")
    parser.add_argument("registry", help="host and path, such as registry.example.com/team")
    options.add(parser)
    parser.add_argument(
        "--plain-http", action="store_true", help="for a registry without TLS on this machine"
    )
    arguments = parser.parse_args()
    release = tools.DIST / arguments.version
    charts = sorted(release.glob("charts/*.tgz"))
    if not charts:
        sys.exit(f"no release in {release}: run `make release VERSION={arguments.version}` first")
    if arguments.images == "yes":
        if not (release / "images").is_dir():
            sys.exit(f"the release in {release} has no images")
        _push_images(arguments)
    for chart in charts:
        _push_chart(chart, arguments)


def _push_images(arguments: argparse.Namespace) -> None:
    pusher = engine.require(arguments.engine)
    for service in SERVICES:
        tag = f"svgx/{service}:{arguments.version}"
        reference = f"{arguments.registry}/{tag}"
        print(f"pushing {reference}", flush=True)
        try:
            pusher.push(tag, reference, plain_http=arguments.plain_http)
        except engine.EngineError as error:
            sys.exit(f"failed: {error}")


def _push_chart(chart: Path, arguments: argparse.Namespace) -> None:
    target = f"oci://{arguments.registry}/charts"
    plain = ["--plain-http"] if arguments.plain_http else []
    command = [str(tools.FOLDER / "helm4"), "push", str(chart), target, *plain]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
