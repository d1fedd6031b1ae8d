"""The names under which the services' NATS keys are stored.

A kind is `nkey` for a public key, `seed` for its seed, and `second-nkey` or `second-seed` while the keys are replaced.
"""


def variable(service: str, kind: str) -> str:
    """Return the environment variable of a key, such as `AUTH_NKEY`, `AUTH_NKEY_SEED` or `AUTH_SECOND_NKEY`."""
    prefix, seed = ("_SECOND" if kind.startswith("second-") else ""), kind.endswith("seed")
    return f"{service.upper()}{prefix}_NKEY{'_SEED' if seed else ''}"


def entry(service: str, kind: str) -> str:
    """Return the entry of a key in the Kubernetes secret, such as `auth-nkey` or `auth-second-seed`."""
    return f"{service}-{kind}"
