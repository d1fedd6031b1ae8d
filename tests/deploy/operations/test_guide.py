"""The commands in `docs/operations.md` are valid, and the commands for a stack succeed."""

import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest
import yaml

from svgx_devstack import DevStack
from tests.deploy.debian import program
from tests.deploy.objects import parse_objects
from tests.deploy.operations.guide import GUIDE, ROOT, Block, checked_by, names, read_blocks
from tests.deploy.operations.shell import GUIDE_DATABASE, Shell
from tests.e2e.clients.api import open_api

_CHECKS: Final = {"stack", "cluster", "manifests", "values", "parse", "skip"}
_CREATED_BY_THE_GUIDE: Final = {
    *("svgx-secrets", "svgx-admin", "svgx-tls", "svgx-nats", "svgx-signing-keys"),
}
_OBJECT: Final = re.compile(r"\b(?:deployment|service|hpa|secret)[/ ](svgx-[a-z-]+)")
_COMPONENT: Final = re.compile(r"\b(auth|collab|gateway|state)\b")
_ROTATION: Final = (
    *("nats-rotate add", "nats-rotate swap", "nats-rotate drop"),
    *("helm upgrade", "rollout status statefulset/svgx-nats"),
)

EXITS: Final = {
    # curl ends with an error after five seconds, or when the gateway closes the connection.
    "WebSockets": {0, 28, 52, 56},
    # `grep` finds no line with this user or this trace id.
    "Logs": {0, 1},
}
"""The permitted exit statuses of a block, by its heading. All other blocks must exit with 0."""


@pytest.fixture(scope="module")
async def shell(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shell]:
    """Open a shell with an admin's access token, and create a user and a canvas for the guide."""
    program("curl", "curl")
    async with open_api(stack.url) as api:
        admin = api.session(stack.admin_username, stack.admin_password)
        token = await admin.access_token()
        account = {"username": "guide", "email": "guide@example.com", "role": "editor"}
        user = await admin.request(
            "POST", "/admin/users/", json={**account, "password": "long enough for a guide"}
        )
        canvas = await admin.request("POST", "/runtime/canvases/", json={"name": "Guide"})
        variables = {
            "TOKEN": token,
            "ADMIN_TOKEN": token,
            "USER_ID": user.json()["id"],
            "CANVAS_ID": canvas.json()["id"],
        }
        yield Shell(tmp_path_factory.mktemp("shell"), stack, variables)


def test_each_block_with_commands_states_its_check() -> None:
    """Each block with a language names a valid check. Only `parse` and `skip` have a reason."""
    blocks = read_blocks()
    assert len(blocks) > 30
    unchecked = [block for block in blocks if block.language and block.way not in _CHECKS]
    assert names(unchecked) == []
    wrong_reason = [
        block for block in blocks if (block.way in {"parse", "skip"}) != bool(block.reason)
    ]
    assert names(wrong_reason) == []


def test_at_most_eight_commands_are_skipped() -> None:
    """At most eight commands are skipped.

    The test prints the numbers of executed, parsed and skipped commands. `make operations-check` shows this line.
    """
    counts = Counter(block.way for block in read_blocks() if block.way for _ in block.commands)
    executed = counts.total() - counts["parse"] - counts["skip"]
    print(f"\ncommands: {executed} executed, {counts['parse']} parsed, {counts['skip']} skipped")
    assert counts["skip"] <= 8


@pytest.mark.parametrize(
    "block",
    (bash_blocks := [block for block in read_blocks() if block.language == "bash"]),
    ids=names(bash_blocks),
)
def test_block_of_the_guide_is_valid_bash(block: Block) -> None:
    """Bash parses each block."""
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_cluster_commands_refer_to_existing_objects() -> None:
    """Each object in a command is in `k8s/`, or the guide creates it."""
    existing = set(_CREATED_BY_THE_GUIDE)
    for path in (ROOT / "k8s").glob("*.yaml"):
        for document in parse_objects(path.read_text(encoding="utf-8")):
            existing.add(document["metadata"]["name"])
    named = set(_OBJECT.findall(GUIDE.read_text(encoding="utf-8")))
    assert len(named) > 4
    assert named - existing == set()


def test_restarts_of_the_guide_are_awaited_before_an_old_secret_ends() -> None:
    """After a change of a secret, the guide restarts services and waits for all of them.

    Proves R-BUS-15 and R-CONFIG-9.

    The replicas of collab are replaced one by one, and those of the gateway together. So a wait for the gateway alone
    ends while other replicas still use the old secret.
    """
    restarting = [block for block in read_blocks() if "rollout restart" in block.text]
    secret_blocks = [block for block in restarting if block.heading == "Secrets"]
    assert len(secret_blocks) == 2
    for block in secret_blocks:
        restarted: set[str] = set()
        for command in block.commands:
            services = set(_COMPONENT.findall(command.partition("--selector")[2]))
            if "rollout restart" in command:
                restarted |= services
            elif "rollout status deployment" in command:
                restarted -= services
            elif "helm upgrade" in command:
                assert restarted == set(), block.name
        assert restarted == set(), block.name


def test_second_keys_of_nats_are_used_after_each_server_knows_them() -> None:
    """The guide waits for the servers of NATS between an upgrade and the next step. Proves R-BUS-15."""
    (block,) = (block for block in checked_by("cluster") if "nats-rotate" in block.text)
    steps = [
        next(step for step in _ROTATION if step in command)
        for command in block.commands
        if any(step in command for step in _ROTATION)
    ]
    assert steps == [
        *("nats-rotate add", "helm upgrade", "rollout status statefulset/svgx-nats"),
        "nats-rotate swap",
        *("helm upgrade", "rollout status statefulset/svgx-nats", "nats-rotate drop"),
    ]


def test_restore_in_a_cluster_runs_again_and_is_awaited() -> None:
    """A second restore replaces the finished job of the first, and no service starts before the end of the restore."""
    (block,) = (block for block in read_blocks() if "svgx-restore" in block.text)
    delete, create, wait, *_ = block.commands
    assert delete.startswith("kubectl delete job svgx-restore ")
    assert create.endswith("| kubectl create -n svgx -f -")
    assert wait.startswith("kubectl wait --for=condition=complete job/svgx-restore ")
    # The CronJob would count the end of a job that it controls as a backup (SVGXEngineBackupOld).
    assert '"controller": false' in create


def test_ingress_refers_to_the_issuer_of_the_guide() -> None:
    """The annotation of the ingress has the name of the issuer that the guide creates."""
    (text,) = (block.text for block in read_blocks() if "kind: ClusterIssuer" in block.text)
    issuer = yaml.safe_load(text.split("EOF")[1])
    ingress = yaml.safe_load((ROOT / "k8s" / "ingress.yaml").read_text(encoding="utf-8"))
    annotations = ingress["metadata"]["annotations"]
    assert annotations["cert-manager.io/cluster-issuer"] == issuer["metadata"]["name"]


@pytest.mark.parametrize("block", (stack_blocks := checked_by("stack")), ids=names(stack_blocks))
async def test_block_of_the_guide_succeeds(shell: Shell, block: Block) -> None:
    """The commands run with the addresses, paths and database of the tests.

    Each line of a Redis configuration becomes the command `redis-cli config set`.
    """
    if block.language == "sql":
        creates_database = "CREATE DATABASE" in block.text
        text = block.text.replace("svgx", GUIDE_DATABASE) if creates_database else block.text
        result = await shell.run_sql(text, "postgres" if creates_database else GUIDE_DATABASE)
    elif block.language == "":
        settings = [line.split(" ", 1) for line in block.text.splitlines()]
        lines = [f"redis-cli config set {name} {value}" for name, value in settings]
        result = await shell.run("\n".join(lines))
    else:
        result = await shell.run(block.text)
    assert result.status in EXITS.get(block.heading, {0}), result.output
