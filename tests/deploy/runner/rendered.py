"""The objects that Helm rendered, and the secrets that an operator creates before the installation."""

from collections.abc import Iterator, Mapping

from tests.deploy.objects import Object, parse_objects


class Rendered:
    """The objects that Helm rendered, without hooks, and the data of the operator's `secrets` by name."""

    def __init__(self, text: str, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._objects: list[Object] = [
            each
            for each in parse_objects(text)
            if "helm.sh/hook" not in each["metadata"].get("annotations", {})
        ]
        self._secrets = {name: dict(data) for name, data in secrets.items()}

    def of_kind(self, *kinds: str) -> Iterator[Object]:
        """Yield the objects of these kinds, in the order of the kinds."""
        for kind in kinds:
            yield from (each for each in self._objects if each["kind"] == kind)

    def data(self, kind: str, name: str) -> dict[str, str] | None:
        """Return the data of a ConfigMap or Secret, or None if it does not exist."""
        if kind == "Secret" and name in self._secrets:
            return self._secrets[name]
        for each in self.of_kind(kind):
            if each["metadata"]["name"] == name:
                return {**each.get("data", {}), **each.get("stringData", {})}
        return None
