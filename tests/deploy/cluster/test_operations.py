"""The commands of docs/operations.md that need a cluster, run on a real API server.

The commands for the Helm release run in the guide's order. The commands for kubectl alone run after all of these.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.build.helm import Helm
from deploy.build.tools import ROOT
from tests.deploy.cluster.cluster import Cluster
from tests.deploy.operations.guide import Block, checked_by, names

_FOLDERS = ("deploy", "k8s")


@pytest.fixture(scope="module")
def clone(
    cluster: Cluster, helms: dict[str, Helm], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Return a folder with all files that the guide names. Remove the guide's objects at the end."""
    folder = tmp_path_factory.mktemp("clone")
    helms["helm4"].run("package", "svgx", "--destination", str(folder / "dist"))
    for name in _FOLDERS:
        (folder / name).symlink_to(ROOT / name)
    cluster.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=svgx-engine.example.com"
        " -keyout tls.key -out tls.crt && cp tls.crt ca.crt",
        folder=folder,
    )
    try:
        yield folder
    finally:
        _delete_namespace(cluster)
        cluster.kubectl("delete", "clusterissuer", "letsencrypt-prod", "--ignore-not-found")


@pytest.mark.parametrize(
    "block", (cluster_blocks := checked_by("cluster")), ids=names(cluster_blocks)
)
def test_block_of_the_guide_succeeds(cluster: Cluster, clone: Path, block: Block) -> None:
    """The commands run unchanged. All blocks run in one cluster, one after another."""
    cluster.shell(block.text, folder=clone)


@pytest.mark.parametrize(
    "block", (manifest_blocks := checked_by("manifests")), ids=names(manifest_blocks)
)
def test_block_for_kubectl_alone_succeeds(cluster: Cluster, clone: Path, block: Block) -> None:
    """The manifests are applied to a namespace without a Helm release."""
    _delete_namespace(cluster)
    cluster.kubectl("create", "namespace", "svgx")
    cluster.shell(block.text, folder=clone)


def _delete_namespace(cluster: Cluster) -> None:
    cluster.kubectl("delete", "namespace", "svgx", "--ignore-not-found", "--wait")
