"""The CronJobs of backups: their scripts, claims and schedules, and their network access to the servers."""

from typing import Any

import pytest

from deploy.build import charts, tools
from deploy.build.helm import Helm, HelmError
from tests.deploy.objects import parse_objects

LONG_NAME = "a-release-with-the-longest-name-that-helm-permits".ljust(53, "x")
NATS_URL = ("--set", "nats.url=nats://nats.example:4222")
BACKUP_TO_BUCKET = (*NATS_URL, "--set", "backup.enabled=true,backup.url=s3://bucket/folder")


@pytest.fixture
def helm(helms: dict[str, Helm]) -> Helm:
    """Return Helm 4 only, in place of the fixture with both versions."""
    return helms["helm4"]


def objects(
    helm: Helm, chart: str, *arguments: str, release: str = "svgx"
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rendered objects by kind and name. No two of them may have the same kind and name."""
    rendered = parse_objects(helm.template(chart, *arguments, release=release))
    found = {(each["kind"], each["metadata"]["name"]): each for each in rendered}
    assert len(found) == len(rendered)
    return found


def pod(cron_job: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a CronJob's pods."""
    found: dict[str, Any] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def test_cron_job_runs_the_script_of_the_repository(helm: Helm) -> None:
    """Proves R-DUMP-5: the chart mounts the scripts that people run by hand, and reads the URL from the secret."""
    found = objects(helm, "svgx", "--set", "backup.enabled=true,backup.keepDays=9")
    scripts = found["ConfigMap", "svgx-backup"]["data"]
    assert scripts.keys() == set(charts.DATABASE_SCRIPTS)
    for name, text in scripts.items():
        assert text == (tools.ROOT / "deploy" / "scripts" / name).read_text(encoding="utf-8")
    job = found["CronJob", "svgx-backup"]
    assert job["spec"]["schedule"] == "0 2 * * *"
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = pod(job)["containers"]
    assert container["command"] == ["sh", "/scripts/backup_database.sh"]
    variables = {each["name"]: each for each in container["env"]}
    secret = {"name": "svgx-secrets", "key": "postgres-url"}
    assert variables["POSTGRES_URL"]["valueFrom"]["secretKeyRef"] == secret
    assert variables["BACKUP_KEEP_DAYS"]["value"] == "9"
    assert variables["BACKUP_VERIFY"]["value"] == "false"
    assert "POSTGRES_ADMIN_URL" not in variables
    claim = found["PersistentVolumeClaim", "svgx-backup-pvc"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    volumes = {each["name"]: each for each in pod(job)["volumes"]}
    assert volumes["backup-storage"]["persistentVolumeClaim"]["claimName"] == "svgx-backup-pvc"


def test_values_of_the_cron_job_are_used(helm: Helm) -> None:
    """Proves R-DUMP-5: verification, an existing claim, a time zone and the image's tag follow the values."""
    values = (
        "backup.enabled=true,backup.verify=true,backup.adminUrlKey=admin,backup.existingClaim=mine,"
        "backup.timeZone=Europe/Berlin,backup.suspend=true,backup.image.tag=19.0"
    )
    found = objects(helm, "svgx", "--set", values)
    job = found["CronJob", "svgx-backup"]
    assert (job["spec"]["timeZone"], job["spec"]["suspend"]) == ("Europe/Berlin", True)
    (container,) = pod(job)["containers"]
    assert container["image"] == "postgres:19.0"
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["BACKUP_VERIFY"] == "true"
    assert "POSTGRES_ADMIN_URL" in variables
    assert not any(kind == "PersistentVolumeClaim" for kind, _ in found)
    volumes = {each["name"]: each for each in pod(job)["volumes"]}
    assert volumes["backup-storage"]["persistentVolumeClaim"]["claimName"] == "mine"


def test_backups_are_off_by_default(helm: Helm) -> None:
    """Proves R-DUMP-5: the default values make no CronJob and no claim; the production values make all CronJobs."""
    kinds = {kind for kind, _ in objects(helm, "svgx")}
    assert not {"CronJob", "PersistentVolumeClaim"} & kinds
    production = objects(helm, "svgx", "--values", "svgx/values-production.yaml")
    assert {name for kind, name in production if kind == "CronJob"} == {
        "svgx-backup",
        "svgx-state-backup-full",
        "svgx-state-backup-incremental",
    }


def test_policies_admit_the_backups_to_their_servers_only(helm: Helm) -> None:
    """Proves R-DUMP-5: PostgreSQL admits all backup pods, and NATS those of canvases. The pods accept no connection."""
    values = "backup.enabled=true,postgresql.enabled=true,state.backup.enabled=true"
    found = objects(helm, "svgx", "--set", f"{values},state.backup.url=s3://bucket")

    def clients(server: str) -> set[str]:
        (rule, *_) = found["NetworkPolicy", server]["spec"]["ingress"]
        return {
            each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in rule["from"]
        }

    assert {"svgx-backup", "svgx-state-backup"} <= clients("svgx-postgresql")
    assert "svgx-state-backup" in clients("svgx-nats")
    for name, job, ports in (
        ("svgx-backup", "svgx-backup", {53, 5432}),
        ("svgx-state-backups", "svgx-state-backup-full", {53, 4222, 5432, 443}),
    ):
        policy = found["NetworkPolicy", name]["spec"]
        assert policy["ingress"] == []
        assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == ports
        template = found["CronJob", job]["spec"]["jobTemplate"]["spec"]["template"]
        labels = template["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        # State's Kubernetes Service must not send requests to backup pods.
        service = found["Service", "svgx-state"]["spec"]["selector"]
        assert not service.items() <= labels.items()


def test_backup_of_canvases_has_the_settings_of_the_replicas(helm: Helm) -> None:
    """Proves R-DUMP-5: replicas and jobs use the same folder or bucket, key and configuration file."""
    found = objects(helm, "state", *BACKUP_TO_BUCKET, "--set", "backup.verify=true")
    job = pod(found["CronJob", "svgx-state-backup-incremental"])
    deployment = found["Deployment", "svgx-state"]["spec"]["template"]["spec"]
    (container,), (replica,) = job["containers"], deployment["containers"]
    assert container["args"] == ["backup", "--backup-type", "incremental", "--verify"]
    assert (container["image"], container["env"]) == (replica["image"], replica["env"])
    variables = {each["name"]: each for each in container["env"]}
    assert variables["BACKUP_URL"]["value"] == "s3://bucket/folder"
    assert variables["BACKUP_KEY"]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert "BACKUP_URL" not in str(objects(helm, "state", *NATS_URL)["Deployment", "svgx-state"])


def test_claim_of_canvas_backups_is_mounted_by_replicas_and_jobs(helm: Helm) -> None:
    """Proves R-DUMP-5: a backup folder needs a volume claim, because a pod's files are lost with the pod."""
    folder = (*NATS_URL, "--set", "backup.enabled=true,backup.url=file:///backups")
    with pytest.raises(HelmError, match=r"backup\.claim is required"):
        helm.template("state", *folder)
    with pytest.raises(HelmError, match=r"backup\.url is required"):
        helm.template("state", *NATS_URL, "--set", "backup.enabled=true")
    found = objects(helm, "state", *folder, "--set", "backup.claim=shared")
    for spec in (
        pod(found["CronJob", "svgx-state-backup-full"]),
        found["Deployment", "svgx-state"]["spec"]["template"]["spec"],
    ):
        (volume,) = (each for each in spec["volumes"] if each["name"] == "backups")
        assert volume["persistentVolumeClaim"] == {"claimName": "shared"}
        mounts = {each["name"]: each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}
        assert mounts["backups"] == "/backups"
    policy = found["NetworkPolicy", "svgx-state-backups"]["spec"]
    assert 443 not in {port["port"] for rule in policy["egress"] for port in rule["ports"]}


def test_empty_schedule_makes_no_cron_job(helm: Helm) -> None:
    """Proves R-DUMP-5: full or incremental backups can be left out."""
    found = objects(helm, "state", *BACKUP_TO_BUCKET, "--set", "backup.schedules.incremental=")
    assert {name for kind, name in found if kind == "CronJob"} == {"svgx-state-backup-full"}


def test_long_release_name_makes_valid_cron_jobs(helm: Helm) -> None:
    """Proves R-DUMP-5: a CronJob's name has at most 52 characters."""
    found = objects(helm, "svgx", "--values", "svgx/values-production.yaml", release=LONG_NAME)
    names = [name for kind, name in found if kind == "CronJob"]
    assert len(names) == 3
    assert all(len(name) <= 52 for name in names)
    assert all(len(name) <= 63 for _, name in found)


@pytest.mark.parametrize("release", ["prod-state", "gateway", "svgx-backup"])
def test_release_named_like_a_part_has_no_object_twice(helm: Helm, release: str) -> None:
    """Proves R-DUMP-5: the backups of the database and those of canvases have policies with different names."""
    assert objects(helm, "svgx", "--values", "svgx/values-production.yaml", release=release)


def test_alerts_name_the_cron_jobs_of_the_release(helm: Helm) -> None:
    """Proves R-OBS-13: the alerts on backups watch the jobs of their release, in its namespace."""
    found = objects(helm, "svgx", "--values", "svgx/values-production.yaml", release="prod")
    rules = found["PrometheusRule", "prod-state"]["spec"]["groups"][0]["rules"]
    expressions = {each["alert"]: each["expr"] for each in rules if "alert" in each}
    assert 'cronjob="prod-backup",namespace="svgx"' in expressions["SVGXEngineBackupOld"]
    assert "svgx-backup" not in expressions["SVGXEngineBackupOld"]
    jobs = 'job_name=~"(prod-backup|prod-state-backup)-.+",namespace="svgx"'
    assert jobs in expressions["SVGXEngineBackupFailed"]
    running = 'job_name=~"prod-state-backup-.+",namespace="svgx"'
    assert running in expressions["SVGXEngineBackupOld"]
    names = {name for kind, name in found if kind == "CronJob"}
    assert names == {"prod-backup", "prod-state-backup-full", "prod-state-backup-incremental"}
