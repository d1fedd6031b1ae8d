"""Write the generated files of the charts (schemas, READMEs, NATS users, scripts), the goldens, `k8s/` and packages.

A golden is the umbrella chart, rendered with one set of values. Tests compare it with a new rendering.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from deploy.build import compose, tools, values
from deploy.build.helm import Helm, copy_charts
from svgx_common.nats_server.users import (
    credentials_as_variables,
    second_users,
    users_configuration,
)

RENDERED = values.HELM / "rendered"
MANIFESTS = tools.ROOT / "k8s"
NATS_USERS = values.HELM / "svgx" / "files" / "nats-users.conf"
SCRIPTS = tools.ROOT / "deploy" / "scripts"
DATABASE_SCRIPTS = ("backup_database.sh", "database_connection.sh", "restore_database.sh")
"""The scripts that the umbrella chart's CronJob mounts. Helm reads only files of a chart, so the chart has copies."""
NATS_USERS_SECOND_KEYS = NATS_USERS.with_name("nats-users-second-keys.conf")

GOLDENS: dict[str, tuple[str, ...]] = {
    "default.yaml": (),
    "dev.yaml": ("--values", "svgx/values-dev.yaml"),
    "production.yaml": ("--values", "svgx/values-production.yaml"),
}
"""The arguments with which the umbrella chart is rendered, by file in `rendered/`."""

MANIFEST_KINDS: dict[str, tuple[str, ...]] = {
    "ingress.yaml": ("Ingress",),
    "monitoring.yaml": ("ServiceMonitor", "PrometheusRule"),
}
"""The kinds of objects in each file of `k8s/`. `monitoring.yaml` also has the dashboards, and `deployment.yaml` has all
other objects. Helm's hooks, such as tests, are in no file."""


def chart_files() -> dict[Path, str]:
    """Return the content of each generated file that is a part of a chart."""
    return {
        NATS_USERS: users_configuration(credentials_as_variables),
        NATS_USERS_SECOND_KEYS: users_configuration(credentials_as_variables, second_users()),
        **{
            values.HELM / "svgx" / "files" / name: (SCRIPTS / name).read_text(encoding="utf-8")
            for name in DATABASE_SCRIPTS
        },
        **values.generated(),
    }


def goldens(helm: Helm) -> dict[Path, str]:
    """Return the content of each golden."""
    return {
        RENDERED / name: helm.template("svgx", *arguments) for name, arguments in GOLDENS.items()
    }


def manifests(helm: Helm) -> dict[Path, str]:
    """Return the content of each file in `k8s/`: the objects that Helm renders with the production values.

    They are rendered for the oldest version of Kubernetes, because kubectl refuses fields unknown to the cluster.
    """
    oldest = ("--kube-version", values.oldest_kubernetes("svgx"))
    rendered = helm.template("svgx", *GOLDENS["production.yaml"], *oldest)
    files: dict[str, list[str]] = {"deployment.yaml": [], **{name: [] for name in MANIFEST_KINDS}}
    for document in documents(rendered):
        content = yaml.safe_load(document)
        kind, annotations = content["kind"], content["metadata"].get("annotations", {})
        if "helm.sh/hook" in annotations:
            continue
        name = next((name for name, kinds in MANIFEST_KINDS.items() if kind in kinds), None)
        if name is None and content["metadata"]["name"].endswith("-dashboards"):
            name = "monitoring.yaml"
        files[name or "deployment.yaml"].append(document)
    return {
        MANIFESTS / name: "---\n" + "\n---\n".join(parts) + "\n" for name, parts in files.items()
    }


def documents(rendered: str) -> Iterator[str]:
    """Yield the text of each object in Helm's output."""
    for document in rendered.split("\n---\n"):
        text = document.removeprefix("---\n").strip()
        if any(line and not line.startswith("#") for line in text.splitlines()):
            yield text


def _write(files: Iterable[tuple[Path, str]]) -> None:
    for path, content in files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")


def main() -> None:
    """Write the generated files of the charts, the goldens and `k8s/`, and packages of the charts into `dist/`.

    Write the hashes of the mounted files, such as the users of NATS, into docker-compose.yml.
    """
    _write(chart_files().items())
    compose.FILE.write_text(
        compose.with_hashes(compose.FILE.read_text(encoding="utf-8")), encoding="utf-8"
    )
    with tempfile.TemporaryDirectory() as folder:
        helm = Helm("helm4", copy_charts(Path(folder)))
        _write(goldens(helm).items())
        _write(manifests(helm).items())
        for chart in values.CHARTS:
            helm.run("package", chart, "--destination", str(tools.DIST))
    print(f"packages of {', '.join(values.CHARTS)} in {tools.DIST}")


if __name__ == "__main__":
    main()
