"""The values in `docs/operations.md`, rendered with Helm."""

from pathlib import Path

import pytest
import yaml

from deploy.build.helm import Helm
from tests.deploy.objects import Object, parse_objects, pod_templates
from tests.deploy.operations.guide import Block, checked_by, names

BLOCKS = checked_by("values")


def rendered_pods(helm: Helm, folder: Path, text: str) -> dict[str, Object]:
    """Return the pod specifications with the production values and these values, by kind and name of the object."""
    file = folder / "values.yaml"
    file.write_text(text, encoding="utf-8")
    production = ("--values", "svgx/values-production.yaml")
    rendered = helm.template("svgx", *production, "--values", str(file))
    templates = pod_templates(parse_objects(rendered))
    return {name: template["spec"] for name, template in templates.items()}


@pytest.mark.parametrize("block", BLOCKS, ids=names(BLOCKS))
def test_values_of_the_guide_are_accepted(helm: Helm, tmp_path: Path, block: Block) -> None:
    """The schema refuses misspelt values. Each value has an effect."""
    assert rendered_pods(helm, tmp_path, block.text) != rendered_pods(helm, tmp_path, "{}")


def test_certificate_of_postgresql_is_mounted_wherever_its_url_is_used(
    helm: Helm, tmp_path: Path
) -> None:
    """Each container with a URL of PostgreSQL has the file that `sslrootcert` names. Proves R-DUMP-5."""
    (block,) = (each for each in BLOCKS if "postgresql-ca" in each.text)
    (mount,) = yaml.safe_load(block.text)["backup"]["extraVolumeMounts"]
    assert mount["mountPath"] == "/etc/postgresql-ca"
    containers = {
        name: pod["containers"][0]
        for name, pod in rendered_pods(helm, tmp_path, block.text).items()
        if "POSTGRES_URL" in str(pod["containers"][0].get("env"))
    }
    assert {"CronJob svgx-backup", "CronJob svgx-state-backup-full"} <= containers.keys()
    for name, container in containers.items():
        assert mount in container["volumeMounts"], name


def test_gateways_get_no_secret_of_tokens_with_the_values_for_signing_keys(
    helm: Helm, tmp_path: Path
) -> None:
    """Auth reads the mounted file, and the secret of the gateways may lack `jwt-secret`. Proves R-SHIP-8."""
    text = "".join(each.text for each in BLOCKS if each.heading == "Signing keys")
    pods = rendered_pods(helm, tmp_path, text)
    (gateway,) = pods["Deployment svgx-gateway"]["containers"]
    (variable,) = (each for each in gateway["env"] if each["name"] == "JWT_SECRET")
    assert variable["valueFrom"]["secretKeyRef"] == {
        "name": "svgx-gateway",
        "key": "jwt-secret",
        "optional": True,
    }
    (auth,) = pods["Deployment svgx-auth"]["containers"]
    mounts = {each["name"]: each["mountPath"] for each in auth["volumeMounts"]}
    path = yaml.safe_load(text)["auth"]["config"]["auth"]["jwt_keys_file"]
    assert path == f"{mounts['signing-keys']}/keys.json"
