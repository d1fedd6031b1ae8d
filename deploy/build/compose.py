"""The hashes in docker-compose.yml of the files that its servers mount.

Docker Compose replaces a container when its definition has changed, but not when a mounted file has changed. Without
the hashes, NATS would keep the users of the old version after an update.
"""

import hashlib
import re
from pathlib import Path

import yaml

from deploy.build.tools import ROOT

FILE = ROOT / "docker-compose.yml"
LABEL = "dev.svgx.mounted-files"

_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
"""A variable with its default."""


def with_hashes(text: str, root: Path = ROOT) -> str:
    """Return the text of docker-compose.yml in which each label `LABEL` has the hash of its server's mounted files."""
    for name, server in yaml.safe_load(text)["services"].items():
        if LABEL in server.get("labels", {}):
            label = rf"(?ms)(^  {name}:$.*?^      {LABEL}:) *\S*$"
            digest = _hash([root / path for path in mounted(server)])
            text = re.sub(label, rf"\g<1> {digest}", text, count=1)
    return text


def mounted(server: dict[str, list[str]]) -> list[str]:
    """Return the path of each file or folder of the repository that a server mounts."""
    volumes = (_DEFAULT.sub(r"\1", each) for each in server.get("volumes", []))
    return [each.partition(":")[0] for each in volumes if each.startswith(".")]


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        files = (
            [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        )
        for file in files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"
