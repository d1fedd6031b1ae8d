"""The command `nats-rotate`: replace the keys of all services step by step, in a Kubernetes secret or an .env file.

Meanwhile the server accepts two keys of each service (`nats-config --second-keys`), so a service can use either key.
"""

import argparse
import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from svgx_common.contract.operation import SERVICES
from svgx_common.nats_server.names import entry as entry_name
from svgx_common.nats_server.names import variable as variable_name
from svgx_common.nats_server.nkeys import UserKey

Entries = dict[str, str]

_KEY_KINDS = ("nkey", "seed")


def add_second_keys(entries: Entries, name_of: Callable[[str, str], str]) -> Entries:
    """Return the entries with a new second key for each service. Raise `ValueError` when there is one already."""
    added = dict(entries)
    for service in SERVICES:
        # An empty entry is no key. A copy of .env.example has such entries.
        if entries.get(name_of(service, "second-nkey")):
            raise ValueError("there are second keys already: swap or drop them first")
        key = UserKey.generate()
        added[name_of(service, "second-nkey")] = key.public
        added[name_of(service, "second-seed")] = key.seed
    return added


def swap_keys(entries: Entries, name_of: Callable[[str, str], str]) -> Entries:
    """Return the entries with each key and its second key exchanged. Raise `ValueError` when a key is missing."""
    swapped = dict(entries)
    for service in SERVICES:
        for kind in _KEY_KINDS:
            first, second = name_of(service, kind), name_of(service, f"second-{kind}")
            if not entries.get(first) or not entries.get(second):
                raise ValueError(f"{first} or {second} is missing: add the second keys first")
            swapped[first], swapped[second] = entries[second], entries[first]
    return swapped


def drop_second_keys(entries: Entries, name_of: Callable[[str, str], str]) -> Entries:
    """Return the entries without second keys."""
    second_names = {
        name_of(service, f"second-{kind}") for service in SERVICES for kind in _KEY_KINDS
    }
    return {key: value for key, value in entries.items() if key not in second_names}


STEPS = {"add": add_second_keys, "swap": swap_keys, "drop": drop_second_keys}


def rotate_secret(secret: Mapping[str, Any], step: str) -> dict[str, Any]:
    """Return a Kubernetes secret after a step, without the metadata that the cluster adds, such as a version."""
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    metadata = secret["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    rotated = STEPS[step](data, entry_name)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": kept,
        "type": secret.get("type", "Opaque"),
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in rotated.items()},
    }


def rotate_env(text: str, step: str) -> str:
    """Return the text of an .env file after a step. All other lines stay as they are, in their order."""
    lines = text.splitlines()
    known = {
        variable_name(service, f"{prefix}{kind}")
        for service in SERVICES
        for kind in _KEY_KINDS
        for prefix in ("", "second-")
    }
    entries = dict(line.split("=", 1) for line in lines if line.partition("=")[0] in known)
    rotated = STEPS[step](entries, variable_name)
    kept = []
    for line in lines:
        name = line.partition("=")[0]
        if name not in known:
            kept.append(line)
        elif name in rotated:
            kept.append(f"{name}={rotated.pop(name)}")
    return "\n".join([*kept, *(f"{name}={value}" for name, value in rotated.items())]) + "\n"


def rotate(arguments: Sequence[str]) -> None:
    """Read a Kubernetes secret (JSON) or an .env file from standard input, and print it after one step.

    A rotation has three steps. `add` adds a new second key for each service; then configure NATS with the second keys.
    `swap` makes the new keys the first keys; then restart the services. Configure NATS without second keys; then `drop`
    removes the second keys, which are the old ones since the swap.
    """
    parser = argparse.ArgumentParser("svgx-gateway nats-rotate", description=rotate.__doc__)
    parser.add_argument("step", choices=STEPS)
    chosen = parser.parse_args(arguments)
    text = sys.stdin.read()
    try:
        if text.lstrip().startswith("{"):
            print(json.dumps(rotate_secret(json.loads(text), chosen.step), indent=2))
        else:
            print(rotate_env(text, chosen.step), end="")
    except (ValueError, KeyError) as error:
        # A `KeyError` means that the JSON is not a Kubernetes secret.
        sys.exit(
            f"svgx: {error}"
            if isinstance(error, ValueError)
            else "svgx: the input is not a Kubernetes secret with keys for NATS"
        )
