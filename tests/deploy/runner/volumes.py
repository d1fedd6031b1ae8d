"""The volumes of a pod, as folders."""

from collections.abc import Callable
from pathlib import Path

from tests.deploy.objects import Object
from tests.deploy.runner.environment import ConfigurationError
from tests.deploy.runner.rendered import Rendered


def mount_points(container: Object, folder: Path) -> dict[str, Path]:
    """Return the folder of each mount path. Each volume is a folder below `folder` with the name of the volume."""
    return {
        mount["mountPath"].rstrip("/"): folder / mount["name"] / mount.get("subPath", "")
        for mount in container.get("volumeMounts", [])
    }


def write(pod: Object, folder: Path, rendered: Rendered, change: Callable[[str], str]) -> None:
    """Create the pod's volumes below `folder`. `change` is applied to each file of a ConfigMap or Secret."""
    for volume in pod["spec"].get("volumes", []):
        target = folder / volume["name"]
        target.mkdir(parents=True, exist_ok=True)
        for name, content in _files(volume, rendered).items():
            (target / name).write_text(change(content), encoding="utf-8")


def _files(volume: Object, rendered: Rendered) -> dict[str, str]:
    if "emptyDir" in volume or "persistentVolumeClaim" in volume:
        return {}
    if "projected" in volume:
        files: dict[str, str] = {}
        for source in volume["projected"]["sources"]:
            files |= _files(source, rendered)
        return files
    for field, kind, key in (
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
    ):
        if field not in volume:
            continue
        source = volume[field]
        name = source.get(key) or source["name"]
        data = rendered.data(kind, name)
        if data is None:
            if source.get("optional"):
                return {}
            raise ConfigurationError(f"{kind} {name} does not exist")
        if "items" in source:
            return {item["path"]: data[item["key"]] for item in source["items"]}
        return data
    raise ConfigurationError(
        f"volume {volume['name']} has a source that the runner does not support"
    )
