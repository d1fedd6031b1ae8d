"""The images of the charts, and the registries from which the documented commands pull these images."""

import re
import shlex
from pathlib import Path

import pytest

from deploy.build import tools, values, versions
from deploy.build.helm import Helm
from tests.deploy.objects import parse_objects, pod_templates

GUIDE = tools.ROOT / "docs" / "operations.md"
README = tools.ROOT / "deploy" / "README.md"
EVERYTHING = ("--values=svgx/values-dev.yaml", "--values=svgx/values-production.yaml")
MIGRATIONS = "--set=auth.migration.enabled=true,state.migration.enabled=true"


def images(helm: Helm, *arguments: str) -> set[str]:
    """Return the images of all pods of the umbrella chart, with the Jobs of migrations."""
    found = pod_templates(parse_objects(helm.template("svgx", MIGRATIONS, *arguments)))
    return {container["image"] for pod in found.values() for container in pod["spec"]["containers"]}


def of_services(registry: str = "") -> set[str]:
    """Return the images of the four services in a registry, such as `registry.example.com/`."""
    return {f"{registry}svgx/{service}:{versions.current()}" for service in values.SERVICES}


def installations(path: Path) -> list[list[str]]:
    """Return the arguments of each `helm install` in a Markdown file, without release, chart and version."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for command in re.findall(r"^helm install svgx .*$", text, re.MULTILINE):
        _, _, _, _, *arguments = shlex.split(command)
        if "--version" in arguments:
            place = arguments.index("--version")
            del arguments[place : place + 2]
        found.append([each.replace("deploy/helm/", f"{values.HELM}/") for each in arguments])
    return found


INSTALLATIONS = [arguments for path in (GUIDE, README) for arguments in installations(path)]


def test_documents_have_commands_with_either_registry() -> None:
    """Three commands are for a registry with the services' images, and one is for a registry with all images."""
    settings = [each for arguments in INSTALLATIONS for each in arguments if "Registry=" in each]
    assert len(settings) == len(INSTALLATIONS)
    names = [each.partition("=")[0] for each in settings]
    assert names.count("global.serviceImageRegistry") == 3
    assert names.count("global.imageRegistry") == 1


@pytest.mark.parametrize("arguments", INSTALLATIONS, ids=" ".join)
def test_documented_installation_pulls_each_image_from_a_registry_that_has_it(
    helm: Helm, arguments: list[str]
) -> None:
    """With `global.serviceImageRegistry`, only the services' images come from the registry of `make publish`."""
    name, _, registry = arguments[-1].partition("=")
    plain = images(helm, *arguments[:-2])
    assert of_services() < plain
    others = plain - of_services()
    if name == "global.imageRegistry":
        others = {f"{registry}/{each}" for each in others}
    assert images(helm, *arguments) == of_services(f"{registry}/") | others


@pytest.mark.parametrize(
    ("settings", "service", "server"),
    [
        ("", "", ""),
        ("gateway.image.registry=own,nats.image.registry=own", "own/", "own/"),
        ("global.serviceImageRegistry=services", "services/", ""),
        ("global.imageRegistry=all", "all/", "all/"),
        ("global.serviceImageRegistry=services,global.imageRegistry=all", "services/", "all/"),
        (
            "global.imageRegistry=all,gateway.image.registry=own,nats.image.registry=own",
            "all/",
            "all/",
        ),
        ("global.serviceImageRegistry=services,gateway.image.registry=own", "services/", ""),
    ],
)
def test_global_registries_override_those_of_images(
    helm: Helm, settings: str, service: str, server: str
) -> None:
    """The registry of the services' images has precedence over that of all images."""
    found = images(helm, "--set", settings)
    (gateway,) = (each for each in found if "svgx/gateway:" in each)
    (nats,) = (each for each in found if "nats:" in each)
    assert gateway.startswith(f"{service}svgx/gateway:")
    assert nats.startswith(f"{server}nats:")


def test_guide_lists_all_images_of_other_projects(helms: dict[str, Helm]) -> None:
    """The table has all images of other projects. The loop that copies images has those of the production values."""
    section = (
        GUIDE.read_text(encoding="utf-8").partition("\n### Images\n")[2].partition("\n### ")[0]
    )
    listed = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    (copied,) = re.findall(r"^for image in (.+); do$", section, re.MULTILINE)
    assert listed == images(helms["helm4"], *EVERYTHING) - of_services()
    assert set(copied.split()) == images(helms["helm4"], EVERYTHING[1]) - of_services()


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        ("global.serviceImageRegistry=r.example", f"r.example/svgx/gateway:{versions.current()}"),
        ("global.imageRegistry=all.example", f"all.example/svgx/gateway:{versions.current()}"),
        ("gateway.image.tag=next", "svgx/gateway:next"),
        (
            "gateway.enabled=false,global.serviceImageRegistry=r.example",
            f"r.example/svgx/gateway:{versions.current()}",
        ),
    ],
)
def test_notes_make_the_keys_with_the_image_of_the_installation(
    helms: dict[str, Helm], settings: str, image: str
) -> None:
    """The command pulls the image from the registry that the pods use. Helm 3 renders notes only with a cluster."""
    output = helms["helm4"].run(
        *("install", "draw", "svgx", "--namespace", "team", "--dry-run=client"),
        *("--set", settings),
    )
    assert f"docker run --rm {image} nats-keys --format secret" in output.partition("NOTES:")[2]
