"""Each chart is installed, tested, upgraded, rolled back and removed, with both versions of Helm."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.build.helm import Helm
from deploy.build.values import SERVICES
from tests.deploy.cluster.cluster import Cluster
from tests.deploy.cluster.releases import NATS, TRIAL, Release

GUIDE = Path(__file__).parents[3] / "docs" / "operations.md"

CHARTS = {**dict.fromkeys(SERVICES, NATS), "svgx": TRIAL}


@pytest.fixture(params=CHARTS)
def release(
    cluster: Cluster,
    helms: dict[str, Helm],
    namespace: str,
    program: str,
    request: pytest.FixtureRequest,
) -> Release:
    """Return a release of one chart that is not installed yet."""
    arguments = CHARTS[request.param]
    return Release(cluster, program, helms[program].charts, request.param, namespace, arguments)


def test_release_keeps_replicas_and_leaves_only_its_data_after_removal(
    cluster: Cluster, release: Release
) -> None:
    """Upgrades and rollbacks keep the number of replicas. `helm uninstall` keeps only the data of PostgreSQL.

    The pods start only if the API server admits them under the standard `restricted`, and if the secrets and
    ConfigMaps to which they refer exist.
    """
    services = SERVICES if release.chart == "svgx" else (release.chart,)
    note = f"{'gateway.' if release.chart == 'svgx' else ''}podAnnotations.note"
    before, cluster_before = cluster.objects(release.namespace), cluster.cluster_objects()
    release.install()
    cluster.wait(
        lambda: {release.replicas(service) for service in services} == {3},
        "the autoscaler's minimum",
    )
    assert "Succeeded" in release.run("test")
    for service in services:
        release.scale(service, 5)

    release.upgrade("--set-string", f"{note}=changed")
    assert [release.replicas(service) for service in services] == [5] * len(services)
    release.run("rollback", "1", "--wait", "--timeout", "180s")
    assert [release.replicas(service) for service in services] == [5] * len(services)
    for service in services:
        cluster.kubectl(
            *("rollout", "status", f"deployment/svgx-{service}", "--timeout", "180s"),
            *("--namespace", release.namespace),
        )
    assert "note" not in annotations(release, services[-1])

    release.uninstall()
    kept = {"PersistentVolumeClaim/data-svgx-postgresql-0"} if release.chart == "svgx" else set()
    cluster.wait(
        lambda: cluster.objects(release.namespace) == before | kept,
        f"no object of the release is left: {cluster.objects(release.namespace) - before - kept}",
    )
    assert cluster.cluster_objects() == cluster_before


@pytest.mark.parametrize("program", ["helm3", "helm4"])
def test_upgrades_of_the_guide_use_new_defaults_and_keep_own_values(
    cluster: Cluster, helms: dict[str, Helm], namespace: str, program: str, tmp_path: Path
) -> None:
    """The new chart has another default and a new section, and the installation has a value of its own."""
    commands = re.findall(
        r"^helm upgrade svgx \S+ -n svgx (--\S+)", GUIDE.read_text(), re.MULTILINE
    )
    assert len(commands) >= 4
    (option,) = set(commands)
    charts = helms[program].charts
    release = Release(cluster, program, charts, "auth", namespace, NATS)
    release.install("--set-string", "podAnnotations.note=own")
    release = replace(release, charts=tmp_path, arguments=())
    newer = shutil.copytree(charts / "auth", tmp_path / "auth")
    values, schema = newer / "values.yaml", newer / "values.schema.json"
    defaults = values.read_text()
    assert "revisionHistoryLimit: 5\n" in defaults
    values.write_text(
        defaults.replace("revisionHistoryLimit: 5\n", "revisionHistoryLimit: 6\n")
        + "newer: {section: present}\n"
    )
    described = json.loads(schema.read_text())
    described["properties"]["newer"] = {"type": "object"}
    schema.write_text(json.dumps(described))
    (newer / "templates" / "newer.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: newer}\n"
        "data: {section: {{ .Values.newer.section }}}\n"
    )

    release.upgrade(option)
    deployment = cluster.get("deployment", "svgx-auth", "--namespace", namespace)
    assert deployment["spec"]["revisionHistoryLimit"] == 6
    assert annotations(release, "auth")["note"] == "own"
    section = cluster.get("configmap", "newer", "--namespace", namespace)["data"]
    assert section == {"section": "present"}


def annotations(release: Release, service: str) -> dict[str, str]:
    """Return the annotations of a service's pods."""
    found = release.cluster.get("deployment", f"svgx-{service}", "--namespace", release.namespace)
    return dict(found["spec"]["template"]["metadata"]["annotations"])
